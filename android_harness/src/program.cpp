#include "program.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine.h"
#include "failure.h"

namespace mobilesplit {

std::string TensorSpec::json() const {
  std::vector<std::string> sizes;
  for (const int32_t size : shape) {
    sizes.push_back(std::to_string(size));
  }
  return JsonObject()
      .text("dtype", dtype)
      .raw("shape", json_array(sizes))
      .integer("nbytes", static_cast<int64_t>(nbytes))
      .object();
}

Program::Program(const std::string& path, bool traced)
    : engine_(open_engine(path, traced)), names_(engine_->method_names()) {
  std::sort(names_.begin(), names_.end());
}

Program::~Program() = default;

double Program::load_ms() const { return engine_->load_ms(); }

const MethodSpec& Program::spec(const std::string& name) {
  const auto known = specs_.find(name);
  if (known != specs_.end()) {
    return known->second;
  }
  if (!std::binary_search(names_.begin(), names_.end(), name)) {
    std::string listing;
    for (const std::string& other : names_) {
      listing += (listing.empty() ? "" : ", ") + other;
    }
    throw Failure("no method is called '" + name + "'; known: " + listing);
  }
  return specs_.emplace(name, engine_->describe(name)).first->second;
}

LoadedMethod& Program::method(const std::string& name) {
  const auto known = loaded_.find(name);
  if (known != loaded_.end()) {
    return *known->second;
  }
  return *loaded_.emplace(name, engine_->load(spec(name))).first->second;
}

LoadedMethod& Program::hold(const std::string& name) {
  LoadedMethod& held = method(name);
  ++holds_[name];
  return held;
}

void Program::release(const std::string& name) {
  if (--holds_.at(name) == 0) {
    loaded_.erase(name);
    engine_->unload(name);
  }
}

std::string Program::trace() const { return engine_->trace(); }

void check_follows(const MethodSpec& method, const MethodSpec& next) {
  const auto look_alike = [](const TensorSpec& given, const TensorSpec& taken) {
    return std::strcmp(given.dtype, taken.dtype) == 0 && given.shape == taken.shape;
  };
  if (!std::equal(method.outputs.begin(), method.outputs.end(), next.inputs.begin(),
                  next.inputs.end(), look_alike)) {
    throw Failure("method '" + next.name + "' does not take what '" + method.name +
                  "' returns");
  }
}

}  // namespace mobilesplit
