// A series: methods that run one after the other, each on what the one before returned. A head
// alone is a series of one. Written METHOD[+ENCODER...][:METHOD[+ENCODER...]...].
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "choice.h"
#include "program.h"

namespace mobilesplit {

using Series = std::vector<Choice>;

// Throws UsageFailure for an empty name.
Series parse_series(const std::string& text);

// Throws Failure unless every name is known, the first method takes `num_inputs` inputs, every
// next one exactly what the one before returns, and no method comes twice.
void check_series(Program& program, const Series& series, size_t num_inputs);

// A series with its methods in memory. It must not outlive the program.
class LoadedSeries {
 public:
  // Gets each method after its first run, with the time of loading it and of that run in ms.
  using OnPart = std::function<void(const std::string& method, double load_ms, double first_ms)>;

  // Loads each method and runs it once on what the one before returned, then each encoder.
  // `inputs` are the files that the first method takes. check_series() has passed. Throws Failure.
  LoadedSeries(Program& program, const Series& series, const std::vector<std::string>& inputs,
               const OnPart& on_part);
  // Frees what no other loaded series holds.
  ~LoadedSeries();
  LoadedSeries(const LoadedSeries&) = delete;
  LoadedSeries& operator=(const LoadedSeries&) = delete;

  // Runs the methods, then the encoders: those would otherwise push what the next method reads
  // out of the caches. Takes the times anew.
  void run();

  // Of the last run, in ms: each method's execution alone; each encoder's with the handing over.
  const std::vector<double>& part_ms() const { return part_ms_; }
  const std::vector<double>& encoder_ms() const { return encoder_ms_; }
  // In the order of encoder_ms(). An encoder named at several methods runs once, on the first.
  const std::vector<std::string>& encoder_names() const { return encoder_names_; }

 private:
  struct Encoder {
    LoadedMethod* method;
    size_t part;
  };

  LoadedMethod& hold(const std::string& name);
  double run_part(size_t index);
  void run_encoders();

  Program& program_;
  std::vector<std::string> held_;
  std::vector<LoadedMethod*> parts_;
  std::vector<Encoder> encoders_;
  std::vector<std::string> encoder_names_;
  std::vector<double> part_ms_;
  std::vector<double> encoder_ms_;
};

}  // namespace mobilesplit
