// Writes one JSON object on one line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobilesplit {

class JsonObject {
 public:
  JsonObject& text(std::string_view key, std::string_view value);
  JsonObject& number(std::string_view key, double value);
  // Each value times `factor`.
  JsonObject& numbers(std::string_view key, const std::vector<double>& values, double factor = 1);
  JsonObject& integer(std::string_view key, int64_t value);
  JsonObject& boolean(std::string_view key, bool value);
  // `json` is valid JSON already.
  JsonObject& raw(std::string_view key, std::string_view json);
  // The fields of another object, which is not empty.
  JsonObject& fields(const JsonObject& other);

  // "{...}", to be nested.
  std::string object() const;
  // "{...}\n", to be sent.
  std::string line() const;

 private:
  std::string fields_;
};

// A JSON string with its quotes. Bytes that are not ASCII become U+FFFD: names and paths may be
// any bytes, JSON may not.
std::string json_string(std::string_view value);

// "[a,b]" of values that are valid JSON already.
template <typename Values>
std::string json_array(const Values& values) {
  std::string joined;
  for (const std::string& value : values) {
    joined += joined.empty() ? "" : ",";
    joined += value;
  }
  return "[" + joined + "]";
}

}  // namespace mobilesplit
