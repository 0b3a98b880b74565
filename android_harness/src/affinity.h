// Which cores this process may run on.
#pragma once

#include <string>

namespace mobilesplit {

// Holds this thread, and every one that it starts later, to the cores of a hexadecimal mask as
// taskset(1) takes it: f0 is cores 4 to 7. Returns the mask that the kernel made of it, without
// cores that do not exist. Throws UsageFailure for what is no mask and where no core is left.
std::string hold_to_cores(const std::string& mask);

}  // namespace mobilesplit
