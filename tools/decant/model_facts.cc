#include "tools/decant/model_facts.h"

#include <algorithm>

namespace decant::cli {
namespace {

// general.file_type, numbered as llama.cpp's enum llama_ftype; the names are those of its tools.
std::string file_type_name(uint32_t type) {
  switch (type & ~1024u) {  // 1024: "guessed"
    case 0:
      return "all F32";
    case 1:
      return "F16";
    case 2:
      return "Q4_0";
    case 3:
      return "Q4_1";
    case 7:
      return "Q8_0";
    case 8:
      return "Q5_0";
    case 9:
      return "Q5_1";
    case 10:
      return "Q2_K - Medium";
    case 11:
      return "Q3_K - Small";
    case 12:
      return "Q3_K - Medium";
    case 13:
      return "Q3_K - Large";
    case 14:
      return "Q4_K - Small";
    case 15:
      return "Q4_K - Medium";
    case 16:
      return "Q5_K - Small";
    case 17:
      return "Q5_K - Medium";
    case 18:
      return "Q6_K";
    case 32:
      return "BF16";
    default:
      return "type " + std::to_string(type);
  }
}

// "270M", "12B"
std::string size_name(uint64_t parameters) {
  const auto count = static_cast<double>(parameters);
  if (count >= 9.95e9) return fmt::format("{:.0f}B", count / 1e9);
  if (count >= 0.95e9) return fmt::format("{:.1f}B", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.0f}M", count / 1e6);
  return fmt::format("{:.0f}K", count / 1e3);
}

// A key that may be missing or of another type: such a file is listed, too.
template <typename T>
T get_any(const GgufFile& file, const std::string& key, T fallback) {
  try {
    return file.get_or<T>(key, fallback);
  } catch (const Error&) {
    return fallback;
  }
}

}  // namespace

ModelFacts model_facts(const GgufFile& file) {
  ModelFacts facts;
  facts.architecture = get_any<std::string>(file, "general.architecture", "unknown");
  facts.name = get_any<std::string>(file, "general.name", "");
  for (const GgufTensor& tensor : file.tensors()) {
    const std::string type = tensor.type_name == "unknown" ? fmt::format("type {}", tensor.type)
                                                           : std::string(tensor.type_name);
    auto found = std::find_if(facts.tensor_types.begin(), facts.tensor_types.end(),
                              [&](const TensorTypeFacts& t) { return t.type == type; });
    if (found == facts.tensor_types.end())
      found = facts.tensor_types.insert(
          found, TensorTypeFacts{.type = type, .supported = tensor.dtype.has_value()});
    found->tensors += 1;
    found->parameters += tensor.shape.elements();
    found->bytes += tensor.bytes.size();
    facts.parameters += tensor.shape.elements();
    facts.tensor_bytes += tensor.bytes.size();
  }
  std::stable_sort(
      facts.tensor_types.begin(), facts.tensor_types.end(),
      [](const TensorTypeFacts& a, const TensorTypeFacts& b) { return a.bytes > b.bytes; });
  const std::string size =
      get_any<std::string>(file, "general.size_label", size_name(facts.parameters));
  facts.type = facts.architecture + " " + size;
  if (file.find("general.file_type"))
    facts.type += " " + file_type_name(get_any<uint32_t>(file, "general.file_type", 0));
  return facts;
}

}  // namespace decant::cli
