#include "bench.h"

#include <numeric>

#include "clock.h"
#include "failure.h"
#include "io.h"
#include "memory.h"

namespace mobilesplit {

namespace {

// Taken before main() begins.
const Clock::time_point process_start = Clock::now();

// Sleeps once for the whole run, so that a series of many methods is no slower than it says.
void take_time(const LoadedSeries& series, const VirtualPhone& phone) {
  const auto sum = [](const std::vector<double>& times_ms) {
    return std::accumulate(times_ms.begin(), times_ms.end(), 0.0);
  };
  phone.account(sum(series.part_ms()) + sum(series.encoder_ms()));
}

JsonObject sample_of(const LoadedSeries& series, const VirtualPhone& phone) {
  JsonObject sample;
  sample.numbers("latency_ms", series.part_ms(), phone.slowdown());
  if (phone.slowdown() != 1.0) {
    sample.numbers("host_latency_ms", series.part_ms());
  }
  if (!series.encoder_names().empty()) {
    JsonObject encode_ms;
    for (size_t i = 0; i < series.encoder_names().size(); ++i) {
      encode_ms.number(series.encoder_names()[i], series.encoder_ms()[i] * phone.slowdown());
    }
    sample.raw("encode_ms", encode_ms.object());
  }
  return sample;
}

JsonObject event(const char* name, const std::string& id) {
  return JsonObject().text("event", name).text("id", id);
}

}  // namespace

void Bench::load(const std::string& id, const Series& series) {
  if (series_.count(id) != 0) {
    throw Failure("a series '" + id + "' is loaded already");
  }
  check_series(program_, series, inputs_.size());
  const bool peak_is_of_method = reset_peak_rss();
  const auto report = [&](const std::string& method, double load_ms, double first_ms) {
    emit(event("part", id)
             .text("method", method)
             .number("method_load_ms", load_ms)
             .number("first_ms", phone_.stretch(first_ms))
             .integer("peak_rss_bytes", peak_rss_bytes()));
  };
  series_[id] = std::make_unique<LoadedSeries>(program_, series, inputs_, report);
  phone_.count();
  emit(event("ready", id)
           .integer("peak_rss_bytes", peak_rss_bytes())
           .boolean("peak_rss_is_of_method", peak_is_of_method));
}

void Bench::run(const std::string& id, const std::string& phase, const StoppingRule& rule,
                const std::function<bool()>& stop) {
  LoadedSeries& series = loaded(id);
  const auto start = Clock::now();
  long runs = 0;
  double elapsed_ms = 0;
  while ((runs < rule.min_runs || elapsed_ms < rule.min_s * 1e3) &&
         elapsed_ms <= rule.max_s * 1e3) {
    series.run();
    take_time(series, phone_);
    elapsed_ms = ms_since(start);
    const double at_ms = ms_since(process_start);
    emit(event("sample", id)
             .text("phase", phase)
             .integer("index", runs)
             .fields(sample_of(series, phone_))
             .number("at_ms", at_ms));
    ++runs;
    if (stop()) {
      break;
    }
  }
  emit(event("ran", id)
           .text("phase", phase)
           .integer("runs", runs)
           .number("elapsed_ms", elapsed_ms)
           .integer("peak_rss_bytes", peak_rss_bytes()));
}

void Bench::unload(const std::string& id) {
  loaded(id);
  series_.erase(id);
  emit(event("unloaded", id));
}

LoadedSeries& Bench::loaded(const std::string& id) {
  const auto known = series_.find(id);
  if (known == series_.end()) {
    throw Failure("no series '" + id + "' is loaded");
  }
  return *known->second;
}

void bench_in_turn(Program& program, const Arguments& arguments, const VirtualPhone& phone) {
  // All mistakes in names and counts before the first measurement.
  for (const Series& series : arguments.methods) {
    check_series(program, series, arguments.inputs.size());
  }
  const auto never = [] { return false; };
  Bench bench(program, arguments.inputs, phone);
  for (size_t i = 0; i < arguments.methods.size(); ++i) {
    const std::string id = std::to_string(i);
    bench.load(id, arguments.methods[i]);
    bench.run(id, "warmup", arguments.warmup, never);
    bench.run(id, "measure", arguments.measure, never);
    bench.unload(id);
  }
}

}  // namespace mobilesplit
