#include "series.h"

#include <algorithm>

#include "clock.h"
#include "failure.h"
#include "io.h"
#include "memory.h"

namespace mobilesplit {

Series parse_series(const std::string& text) {
  Series series;
  for (const std::string& part : split_names("a series of methods", text, ':')) {
    series.push_back(parse_choice(part));
  }
  return series;
}

void check_series(Program& program, const Series& series, size_t num_inputs) {
  const MethodSpec* before = nullptr;
  std::vector<std::string> names;
  for (const Choice& part : series) {
    const MethodSpec& spec = program.spec(part.method);
    if (std::find(names.begin(), names.end(), part.method) != names.end()) {
      throw Failure("method '" + part.method + "' is twice in one series");
    }
    names.push_back(part.method);
    if (before != nullptr) {
      check_follows(*before, spec);
    } else if (spec.inputs.size() != num_inputs) {
      throw Failure("method '" + spec.name + "' takes " + std::to_string(spec.inputs.size()) +
                    " inputs, " + std::to_string(num_inputs) + " were given");
    }
    for (const std::string& encoder : part.encoders) {
      check_follows(spec, program.spec(encoder));
    }
    before = &spec;
  }
}

LoadedSeries::LoadedSeries(Program& program, const Series& series,
                           const std::vector<std::string>& inputs, const OnPart& on_part)
    : program_(program) {
  part_ms_.resize(series.size());
  for (size_t part = 0; part < series.size(); ++part) {
    const auto start = Clock::now();
    parts_.push_back(&hold(series[part].method));
    const double load_ms = ms_since(start);
    for (size_t i = 0; part == 0 && i < inputs.size(); ++i) {
      read_file(inputs[i], parts_[0]->input_data(i), parts_[0]->spec().inputs[i].nbytes);
    }
    on_part(series[part].method, load_ms, run_part(part));
  }
  for (size_t part = 0; part < series.size(); ++part) {
    for (const std::string& name : series[part].encoders) {
      const bool known =
          std::find(encoder_names_.begin(), encoder_names_.end(), name) != encoder_names_.end();
      if (!known) {
        encoders_.push_back({&hold(name), part});
        encoder_names_.push_back(name);
      }
    }
  }
  encoder_ms_.resize(encoders_.size());
  run_encoders();
}

LoadedSeries::~LoadedSeries() {
  for (const std::string& name : held_) {
    program_.release(name);
  }
  release_freed_memory();
}

void LoadedSeries::run() {
  for (size_t part = 0; part < parts_.size(); ++part) {
    part_ms_[part] = run_part(part);
  }
  run_encoders();
}

LoadedMethod& LoadedSeries::hold(const std::string& name) {
  LoadedMethod& method = program_.hold(name);
  held_.push_back(name);
  return method;
}

double LoadedSeries::run_part(size_t index) {
  return index == 0 ? parts_[0]->run() : parts_[index]->run_on(*parts_[index - 1]).execute_ms;
}

void LoadedSeries::run_encoders() {
  for (size_t i = 0; i < encoders_.size(); ++i) {
    encoder_ms_[i] = encoders_[i].method->run_on(*parts_[encoders_[i].part]).total_ms;
  }
}

}  // namespace mobilesplit
