// mobilesplit-runner: executes heads, which are methods of one ExecuTorch program, and reports
// raw samples as JSON lines. README.md beside this folder describes commands and output.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include "affinity.h"
#include "arguments.h"
#include "bench.h"
#include "directed.h"
#include "engine.h"
#include "failure.h"
#include "io.h"
#include "json.h"
#include "program.h"
#include "session.h"
#include "virtual_phone.h"

namespace mobilesplit {

namespace {

JsonObject event(const char* name) {
  return JsonObject()
      .text("event", name)
      .text("runner", RUNNER_KIND)
      .text("version", RUNNER_VERSION);
}

void run_info(const Arguments& arguments) {
  Program program(arguments.program);
  std::vector<std::string> methods;
  for (const std::string& name : program.method_names()) {
    const MethodSpec& spec = program.spec(name);
    std::vector<std::string> inputs;
    std::vector<std::string> outputs;
    for (const TensorSpec& tensor : spec.inputs) {
      inputs.push_back(tensor.json());
    }
    for (const TensorSpec& tensor : spec.outputs) {
      outputs.push_back(tensor.json());
    }
    methods.push_back(JsonObject()
                          .text("name", name)
                          .raw("inputs", json_array(inputs))
                          .raw("outputs", json_array(outputs))
                          .object());
  }
  emit(JsonObject().text("event", "info").raw("methods", json_array(methods)));
}

// Sets cores and threads, in this order: the pool's threads inherit the cores. Reports both.
void place(const Arguments& arguments, JsonObject* report) {
  if (!arguments.core_mask.empty()) {
    report->text("core_mask", hold_to_cores(arguments.core_mask));
  }
  set_thread_count(arguments.threads);
  report->integer("threads", arguments.threads);
}

void check_written(const std::ofstream& file, const std::string& path) {
  if (!file) {
    throw Failure("cannot write " + path + ": " + std::strerror(errno));
  }
}

void run_bench(const Arguments& arguments) {
  const VirtualPhone phone;
  JsonObject started = event("started").text(ENGINE_NAME, ENGINE_VERSION);
  place(arguments, &started);
  emit(started.number("slowdown", phone.slowdown()).integer("pid", getpid()));
  std::ofstream trace;
  const bool traced = !arguments.etdump.empty();
  if (traced) {  // a file that cannot be written shows before the measurement, not after it
    trace.open(arguments.etdump, std::ios::binary);
    check_written(trace, arguments.etdump);
  }
  Program program(arguments.program, traced);
  emit(JsonObject().text("event", "loaded").number("load_ms", program.load_ms()));
  if (arguments.directed) {
    Bench bench(program, arguments.inputs, phone);
    InputStream input(STDIN_FILENO);
    direct_bench(bench, input);
  } else {
    bench_in_turn(program, arguments, phone);
  }
  if (traced) {
    trace << program.trace() << std::flush;
    check_written(trace, arguments.etdump);
  }
}

void run_session(const Arguments& arguments) {
  const VirtualPhone phone;
  JsonObject ready = event("ready");
  place(arguments, &ready);
  Program program(arguments.program);
  emit(ready.number("load_ms", program.load_ms()).number("slowdown", phone.slowdown()));
  InputStream input(STDIN_FILENO);
  serve_session(program, input, phone);
}

void run(const std::vector<std::string>& words) {
  const Arguments arguments = parse_arguments(words);
  switch (arguments.command) {
    case Arguments::Command::kVersion:
      emit(event("version").text(ENGINE_NAME, ENGINE_VERSION));
      break;
    case Arguments::Command::kHelp:
      std::fputs(kUsage, stdout);
      break;
    case Arguments::Command::kInfo:
      run_info(arguments);
      break;
    case Arguments::Command::kBench:
      run_bench(arguments);
      break;
    case Arguments::Command::kSession:
      run_session(arguments);
      break;
  }
}

// Says why on both streams: programs read stdout, people see stderr.
int give_up(const std::string& message, const std::string& cause, int exit_code) {
  std::fprintf(stderr, "mobilesplit-runner: %s\n", message.c_str());
  try {
    JsonObject error;
    error.text("event", "error").text("message", message);
    if (!cause.empty()) {
      error.text("cause", cause);
    }
    emit(error);
  } catch (const StreamLost&) {
    // Nobody reads stdout any more; stderr has it.
  }
  return exit_code;
}

}  // namespace

}  // namespace mobilesplit

int main(int argc, char** argv) {
  using namespace mobilesplit;
  signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error to report, not a silent death
  capture_engine_log();
  try {
    run({argv + 1, argv + argc});
    return 0;
  } catch (const UsageFailure& failure) {
    std::fputs(kUsage, stderr);
    return give_up(failure.what(), failure.cause(), 2);
  } catch (const Failure& failure) {
    return give_up(failure.what(), failure.cause(), 1);
  } catch (const std::bad_alloc&) {
    return give_up("out of memory", kOutOfMemory, 1);
  } catch (const std::exception& failure) {
    return give_up(failure.what(), "", 1);
  }
}
