#include "session.h"

#include <charconv>
#include <cstdint>
#include <new>
#include <numeric>
#include <sstream>

#include "choice.h"
#include "failure.h"

namespace mobilesplit {

namespace {

constexpr size_t kMaxLineBytes = 4096;
constexpr uint64_t kMaxInputBytes = uint64_t{1} << 30;

struct Request {
  int64_t id;
  std::string method;
  std::vector<uint64_t> nbytes;
};

template <typename Integer>
bool parse_integer(const std::string& text, Integer* value) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, *value);
  return result.ec == std::errc() && result.ptr == end;
}

// A line that cannot be read does not say how many bytes follow it: the framing is lost.
Request parse_request(const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  std::string word;
  Request request{};
  words >> verb >> word >> request.method;
  if (verb != "run" || request.method.empty() || !parse_integer(word, &request.id) ||
      request.id < 0) {
    throw StreamLost("not a request: '" + line.substr(0, 80) +
                     "'; expected: run <id> <method> <nbytes> ...");
  }
  while (words >> word) {
    uint64_t nbytes = 0;
    if (!parse_integer(word, &nbytes)) {
      throw StreamLost("not a size in bytes: '" + word.substr(0, 80) + "'");
    }
    request.nbytes.push_back(nbytes);
  }
  return request;
}

void check_sizes(const MethodSpec& spec, const std::vector<uint64_t>& nbytes) {
  if (nbytes.size() != spec.inputs.size()) {
    throw Failure("method '" + spec.name + "' takes " + std::to_string(spec.inputs.size()) +
                  " inputs, not " + std::to_string(nbytes.size()));
  }
  for (size_t i = 0; i < nbytes.size(); ++i) {
    if (nbytes[i] != spec.inputs[i].nbytes) {
      throw Failure("input " + std::to_string(i) + " of method '" + spec.name + "' takes " +
                    std::to_string(spec.inputs[i].nbytes) + " bytes, not " +
                    std::to_string(nbytes[i]));
    }
  }
}

// What to run, once the request is known to fit the program.
Choice check(Program& program, const Request& request) {
  Choice choice = parse_choice(request.method);
  const MethodSpec& spec = program.spec(choice.method);
  if (choice.encoders.size() > 1) {
    throw Failure("a request takes one encoder, not " + std::to_string(choice.encoders.size()));
  }
  for (const std::string& encoder : choice.encoders) {
    check_follows(spec, program.spec(encoder));
  }
  check_sizes(spec, request.nbytes);
  return choice;
}

void answer_error(int64_t id, const std::string& message, const std::string& cause = "") {
  JsonObject answer;
  answer.integer("id", id).text("error", message);
  if (!cause.empty()) {
    answer.text("cause", cause);
  }
  emit(answer);
}

void answer(Program& program, const Request& request, InputStream& input,
            const VirtualPhone& phone) {
  uint64_t pending_nbytes =
      std::accumulate(request.nbytes.begin(), request.nbytes.end(), uint64_t{0});
  try {
    const Choice choice = check(program, request);
    LoadedMethod& method = program.method(choice.method);
    for (size_t i = 0; i < request.nbytes.size(); ++i) {
      input.read_exactly(method.input_data(i), request.nbytes[i]);
      pending_nbytes -= request.nbytes[i];
    }
    const double host_ms = method.run();
    JsonObject head;
    head.integer("id", request.id).number("latency_ms", phone.account(host_ms));
    if (phone.slowdown() != 1.0) {
      head.number("host_latency_ms", host_ms);
    }
    LoadedMethod* last = &method;
    for (const std::string& name : choice.encoders) {
      last = &program.method(name);
      head.number("encode_ms", phone.stretch(last->run_on(method).total_ms));
    }
    const auto outputs = last->outputs();
    std::vector<std::string> specs;
    for (const auto& output : outputs) {
      specs.push_back(output.spec.json());
    }
    const std::string line = head.raw("outputs", json_array(specs)).line();
    std::vector<Bytes> pieces = {{line.data(), line.size()}};
    for (const auto& output : outputs) {
      pieces.push_back(output.bytes);
    }
    write_stdout(pieces);
  } catch (const StreamLost&) {
    throw;
  } catch (const Failure& failure) {
    input.discard(pending_nbytes);
    answer_error(request.id, failure.what(), failure.cause());
  } catch (const std::bad_alloc&) {
    input.discard(pending_nbytes);
    answer_error(request.id, "out of memory", kOutOfMemory);
  }
}

}  // namespace

void serve_session(Program& program, InputStream& input, const VirtualPhone& phone) {
  while (const auto line = input.read_line(kMaxLineBytes)) {
    if (*line == "quit") {
      return;
    }
    const Request request = parse_request(*line);
    for (const uint64_t nbytes : request.nbytes) {
      if (nbytes > kMaxInputBytes) {
        const std::string message =
            "an input of " + std::to_string(nbytes) + " bytes is over the limit of 1 GiB";
        answer_error(request.id, message);
        throw StreamLost(message);
      }
    }
    answer(program, request, input, phone);
  }
}

}  // namespace mobilesplit
