#include "bench.h"

#include <unistd.h>

#include <chrono>

#include "failure.h"
#include "io.h"
#include "memory.h"

namespace mobilesplit {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxGoBytes = 64;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check(Program& program, const Choice& choice, const Arguments& arguments) {
  const MethodSpec& spec = program.spec(choice.method);
  if (spec.inputs.size() != arguments.inputs.size()) {
    throw Failure("method '" + spec.name + "' takes " + std::to_string(spec.inputs.size()) +
                  " inputs, " + std::to_string(arguments.inputs.size()) + " were given");
  }
  for (const std::string& encoder : choice.encoders) {
    check_encoder(spec, program.spec(encoder));
  }
}

// Every encoder on what the method has just returned: {"encoder":ms,..}.
JsonObject encode(const LoadedMethod& method, const std::vector<LoadedMethod*>& encoders,
                  const VirtualPhone& phone) {
  JsonObject encode_ms;
  for (LoadedMethod* encoder : encoders) {
    encode_ms.number(encoder->spec().name, phone.stretch(encoder->run_on(method)));
  }
  return encode_ms;
}

// Runs one phase to the end of its rule; returns the number of inferences.
long run_phase(LoadedMethod& method, const std::vector<LoadedMethod*>& encoders,
               const char* phase, const StoppingRule& rule, const VirtualPhone& phone) {
  const auto start = Clock::now();
  long runs = 0;
  double elapsed_s = 0;
  while ((runs < rule.min_runs || elapsed_s < rule.min_s) && elapsed_s <= rule.max_s) {
    const double host_ms = method.run();
    JsonObject sample;
    sample.text("event", "sample")
        .text("method", method.spec().name)
        .text("phase", phase)
        .integer("index", runs)
        .number("latency_ms", phone.account(host_ms));
    if (phone.slowdown() != 1.0) {
      sample.number("host_latency_ms", host_ms);
    }
    if (!encoders.empty()) {
      sample.raw("encode_ms", encode(method, encoders, phone).object());
    }
    emit(sample);
    ++runs;
    elapsed_s = seconds_since(start);
  }
  return runs;
}

// Blocks until the other side, which reads a gauge meanwhile, sends a line.
void wait_for_line(InputStream& input) {
  if (!input.read_line(kMaxGoBytes)) {
    throw StreamLost("the input ended while the benchmark waited for a line");
  }
}

void bench_method(Program& program, const Choice& choice, const Arguments& arguments,
                  const VirtualPhone& phone, InputStream& input) {
  const std::string& name = choice.method;
  const bool peak_is_of_method = reset_peak_rss();
  const auto start = Clock::now();
  LoadedMethod& method = program.method(name);
  const double method_load_ms = seconds_since(start) * 1e3;
  for (size_t i = 0; i < arguments.inputs.size(); ++i) {
    read_file(arguments.inputs[i], method.input_data(i), method.spec().inputs[i].nbytes);
  }
  const double first_ms = phone.account(method.run());
  emit(JsonObject()
           .text("event", "method")
           .text("method", name)
           .number("method_load_ms", method_load_ms)
           .number("first_ms", first_ms));
  std::vector<LoadedMethod*> encoders;
  for (const std::string& encoder : choice.encoders) {
    encoders.push_back(&program.method(encoder));
  }
  run_phase(method, encoders, "warmup", arguments.warmup, phone);
  if (arguments.wait) {
    emit(JsonObject().text("event", "waiting").text("method", name));
    wait_for_line(input);
  }
  const long runs = run_phase(method, encoders, "measure", arguments.measure, phone);
  emit(JsonObject()
           .text("event", "done")
           .text("method", name)
           .integer("runs", runs)
           .integer("peak_rss_bytes", peak_rss_bytes())
           .boolean("peak_rss_is_of_method", peak_is_of_method));
  if (arguments.wait) {
    wait_for_line(input);
  }
  program.unload(name);
  for (const std::string& encoder : choice.encoders) {
    program.unload(encoder);
  }
  release_freed_memory();
}

}  // namespace

void bench(Program& program, const Arguments& arguments, const VirtualPhone& phone) {
  // All mistakes in names and counts before the first measurement.
  for (const Choice& choice : arguments.methods) {
    check(program, choice, arguments);
  }
  InputStream input(STDIN_FILENO);
  for (const Choice& choice : arguments.methods) {
    bench_method(program, choice, arguments, phone, input);
  }
}

}  // namespace mobilesplit
