"""What `mobilesplit doctor` looks at: this machine, the adb server, each device."""
