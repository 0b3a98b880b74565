// The element types that the formats of mobilesplit carry, by name.
#pragma once

namespace mobilesplit {

// Null for other element types. `ScalarType` is c10's, of which ExecuTorch has a copy of its own.
template <typename ScalarType>
const char* dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Half:
      return "float16";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Char:
      return "int8";
    case ScalarType::Byte:
      return "uint8";
    case ScalarType::Short:
      return "int16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Bool:
      return "bool";
    default:
      return nullptr;
  }
}

}  // namespace mobilesplit
