#include "json.h"

#include <cstdio>

namespace mobilesplit {

namespace {

std::string json_number(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.9g", value);
  return digits;
}

}  // namespace

std::string json_string(std::string_view value) {
  std::string quoted = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escaped[7];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
      quoted += escaped;
    } else if (byte > 0x7f) {
      quoted += "\\ufffd";
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

JsonObject& JsonObject::raw(std::string_view key, std::string_view json) {
  fields_ += fields_.empty() ? "" : ",";
  fields_ += json_string(key);
  fields_ += ':';
  fields_ += json;
  return *this;
}

JsonObject& JsonObject::text(std::string_view key, std::string_view value) {
  return raw(key, json_string(value));
}

JsonObject& JsonObject::number(std::string_view key, double value) {
  return raw(key, json_number(value));
}

JsonObject& JsonObject::numbers(std::string_view key, const std::vector<double>& values,
                                double factor) {
  std::string joined = "[";
  for (const double value : values) {
    joined += joined.size() == 1 ? "" : ",";
    joined += json_number(value * factor);
  }
  return raw(key, joined + "]");
}

JsonObject& JsonObject::fields(const JsonObject& other) {
  fields_ += fields_.empty() ? "" : ",";
  fields_ += other.fields_;
  return *this;
}

JsonObject& JsonObject::integer(std::string_view key, int64_t value) {
  return raw(key, std::to_string(value));
}

JsonObject& JsonObject::boolean(std::string_view key, bool value) {
  return raw(key, value ? "true" : "false");
}

std::string JsonObject::object() const { return "{" + fields_ + "}"; }

std::string JsonObject::line() const { return object() + "\n"; }

}  // namespace mobilesplit
