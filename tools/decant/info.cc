// decant info: what a GGUF file contains, of whatever architecture.
#include <memory>

#include "tools/decant/common.h"
#include "tools/decant/console.h"
#include "tools/decant/model_facts.h"

namespace decant::cli {
namespace {

struct Options {
  std::string model;
  bool metadata = false;
  bool tensors = false;
  bool json = false;
};

// What the metadata says about the model's shape: keys behind "<architecture>.".
constexpr std::pair<const char*, const char*> kShapeKeys[] = {
    {"context_length", "context"},           {"block_count", "layers"},
    {"embedding_length", "hidden"},          {"feed_forward_length", "feed forward"},
    {"attention.head_count", "query heads"}, {"attention.head_count_kv", "KV heads"},
    {"attention.key_length", "head dim"},    {"attention.sliding_window", "sliding window"},
    {"rope.freq_base", "rope base"},
};

Json value_as_json(const GgufValue& value) {
  if (value.type() == GgufType::kString) return value.load<std::string_view>();
  // Numbers and bools print as JSON has them, except for NaN and infinities; arrays are cut.
  const std::string text = value.to_string();
  Json parsed = Json::parse(text, nullptr, false);
  return parsed.is_discarded() ? Json(text) : parsed;
}

void print_as_json(const GgufFile& file, const ModelFacts& facts, const Options& options) {
  Json types = Json::array();
  for (const TensorTypeFacts& t : facts.tensor_types)
    types.push_back({{"type", t.type},
                     {"supported", t.supported},
                     {"tensors", t.tensors},
                     {"parameters", t.parameters},
                     {"bytes", t.bytes}});
  Json out = {{"file", file.name()},
              {"file_bytes", file.bytes().size()},
              {"gguf_version", file.version()},
              {"architecture", facts.architecture},
              {"name", facts.name},
              {"type", facts.type},
              {"parameters", facts.parameters},
              {"tensor_bytes", facts.tensor_bytes},
              {"tensors", file.tensors().size()}};
  Json shape = Json::object();
  for (const auto& [key, label] : kShapeKeys)
    if (const GgufEntry* entry = file.find(facts.architecture + "." + key))
      shape[key] = value_as_json(entry->value);
  out["model"] = std::move(shape);
  if (const GgufEntry* tokens = file.find("tokenizer.ggml.tokens"))
    out["vocabulary"] = tokens->value.size();
  out["tensor_types"] = std::move(types);
  if (options.tensors) {
    Json list = Json::array();
    for (const GgufTensor& t : file.tensors()) {
      Json extents = Json::array();
      for (size_t axis = 0; axis < t.shape.rank(); ++axis) extents.push_back(t.shape[axis]);
      list.push_back({{"name", t.name},
                      {"type", t.type_name},
                      {"shape", std::move(extents)},
                      {"bytes", t.bytes.size()}});
    }
    out["tensor_list"] = std::move(list);
  }
  if (options.metadata) {
    Json entries = Json::object();
    for (const GgufEntry& entry : file.metadata())
      entries[std::string(entry.key)] = value_as_json(entry.value);
    out["metadata"] = std::move(entries);
  }
  print_json(out);
}

void print_as_text(const GgufFile& file, const ModelFacts& facts, const Options& options) {
  const auto line = [](std::string_view label, const std::string& value) {
    put("{:<16}{}\n", label, value);
  };
  const auto metadata_line = [&](std::string_view label, const std::string& key) {
    const GgufEntry* entry = file.find(key);
    if (!entry) return;
    // Escaped and cut, as a file can contain anything; without the quotes.
    const std::string text = entry->value.to_string();
    const bool quoted = entry->value.type() == GgufType::kString;
    line(label, quoted ? text.substr(1, text.size() - 2) : text);
  };
  line("file", file.name());
  line("size", fmt::format("{}, GGUF version {}", mebibytes(file.bytes().size()), file.version()));
  metadata_line("architecture", "general.architecture");
  metadata_line("name", "general.name");
  line("parameters",
       fmt::format("{:.2f} M in {} tensors, {}", static_cast<double>(facts.parameters) / 1e6,
                   file.tensors().size(), mebibytes(facts.tensor_bytes)));
  for (const auto& [key, label] : kShapeKeys) metadata_line(label, facts.architecture + "." + key);
  if (const GgufEntry* tokens = file.find("tokenizer.ggml.tokens"))
    line("vocabulary", std::to_string(tokens->value.size()));

  put("\n| {:<8} | {:>7} | {:>12} | {:>12} |\n", "type", "tensors", "parameters", "size");
  put("| {:-<8} | {:->6}: | {:->11}: | {:->11}: |\n", "", "", "", "");
  for (const TensorTypeFacts& t : facts.tensor_types)
    put("| {:<8} | {:>7} | {:>12} | {:>12} |{}\n", t.type, t.tensors, t.parameters,
        t.bytes ? mebibytes(t.bytes) : "unknown", t.supported ? "" : " not supported");
  if (options.tensors) {
    put("\n");
    for (const GgufTensor& t : file.tensors())
      put("{} {} {}\n", gguf_quoted(t.name), t.type_name, t.shape.to_string());
  }
  if (options.metadata) {
    put("\n");
    for (const GgufEntry& entry : file.metadata())
      put("{} = {} ({})\n", gguf_quoted(entry.key), entry.value.to_string(),
          entry.value.type_name());
  }
}

int run(const Options& options) {
  const GgufFile file = open_model(options.model);
  const ModelFacts facts = model_facts(file);
  if (options.json)
    print_as_json(file, facts, options);
  else
    print_as_text(file, facts, options);
  return kSuccess;
}

}  // namespace

void add_info(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("info", "Show what a GGUF file contains");
  add_model_option(*sub, options->model);
  sub->add_flag("--metadata", options->metadata, "List the metadata as well");
  sub->add_flag("--tensors", options->tensors, "List the tensors as well");
  sub->add_flag("--json", options->json, "Print one JSON object");
  sub->footer(
      "Works for every valid GGUF file, also of architectures and types that decant cannot run.\n"
      "Example: decant info -m model.gguf --metadata");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
