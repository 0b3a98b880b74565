// What the virtual phone asks of a runner through its environment:
//   MOBILESPLIT_SLOWDOWN=F       an inference that took t ms sleeps (F-1)*t and reports F*t
//   MOBILESPLIT_SLOWDOWN_FILE=FILE holds an F that may change while the runner runs (throttling);
//                                it is read at every inference and comes before the one above
//   MOBILESPLIT_RUN_COUNTER=FILE one byte is appended per successful inference
// Neither is set on a real phone.
#pragma once

namespace mobilesplit {

class VirtualPhone {
 public:
  // Reads the environment. Throws UsageFailure for a slowdown that is not a number >= 1, and
  // Failure for a counter file that cannot be opened.
  VirtualPhone();
  ~VirtualPhone();
  VirtualPhone(const VirtualPhone&) = delete;
  VirtualPhone& operator=(const VirtualPhone&) = delete;

  // Of the last inference that was accounted for; at first the one of the environment.
  double slowdown() const { return slowdown_; }

  // Counts an inference.
  void count() const;
  // Sleeps what is missing to work that took `host_ms`; returns the time that it stands for.
  double stretch(double host_ms) const;
  // Both, for an inference that took `host_ms`.
  double account(double host_ms) const;

 private:
  void look_up_slowdown() const;

  mutable double slowdown_ = 1.0;
  const char* slowdown_path_ = nullptr;
  int counter_fd_ = -1;
};

}  // namespace mobilesplit
