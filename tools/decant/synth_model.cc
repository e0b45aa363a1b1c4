// decant synth-model: a Gemma 3 of random weights.
#include "tools/decant/synth_model.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <unordered_set>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/text/tokenizer.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"
#include "tools/decant/synth_weights.h"

namespace decant::cli {
namespace {

struct Options {
  SynthModel model;
  std::string file;
};

// --- Vocabulary, in the order of the real files: control, user-defined, bytes, the rest.

struct Vocabulary {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::unordered_set<std::string> seen;

  void add(TokenType type, float score, std::string piece) {
    if (!seen.insert(piece).second) return;
    pieces.push_back(std::move(piece));
    scores.push_back(score);
    types.push_back(static_cast<int32_t>(type));
  }
  // BPE makes a piece by merging a known one and a character; frequent pieces come first.
  void add_normal(std::string piece) {
    add(TokenType::kNormal, -static_cast<float>(pieces.size()), std::move(piece));
  }
};

Vocabulary vocabulary(uint32_t size) {
  Vocabulary v;
  for (const char* text :
       {"<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"})
    v.add(TokenType::kControl, -1000, text);
  for (size_t n = 1; n <= 4; ++n) v.add(TokenType::kUserDefined, -1000, std::string(n, '\n'));
  for (size_t n = 2; n <= 5; ++n) v.add(TokenType::kUserDefined, -1000, std::string(n, ' '));
  for (int byte = 0; byte < 256; ++byte)
    v.add(TokenType::kByte, 0, fmt::format("<0x{:02X}>", byte));
  const std::string space = "\xE2\x96\x81";
  v.add_normal(space);
  for (char c = '!'; c <= '~'; ++c) v.add_normal(std::string(1, c));
  for (char c = 'a'; c <= 'z'; ++c) v.add_normal(space + c);
  // Every beginning of a piece is a piece: "a" to "zzzz", by length.
  std::vector<std::string> shorter;
  for (char c = 'a'; c <= 'z'; ++c) shorter.emplace_back(1, c);
  while (v.pieces.size() < size) {
    std::vector<std::string> longer;
    for (const std::string& begin : shorter)
      for (char c = 'a'; c <= 'z' && v.pieces.size() < size; ++c) {
        longer.push_back(begin + c);
        v.add_normal(longer.back());
      }
    shorter = std::move(longer);
  }
  return v;
}

void add_tokenizer(GgufWriter& writer, uint32_t vocab) {
  const Vocabulary v = vocabulary(vocab);
  writer.add("tokenizer.ggml.model", "llama");
  writer.add_array<std::string_view>("tokenizer.ggml.tokens", {v.pieces.begin(), v.pieces.end()});
  writer.add_array<float>("tokenizer.ggml.scores", v.scores);
  writer.add_array<int32_t>("tokenizer.ggml.token_type", v.types);
  writer.add("tokenizer.ggml.bos_token_id", uint32_t{2});
  writer.add("tokenizer.ggml.eos_token_id", uint32_t{1});
  writer.add("tokenizer.ggml.unknown_token_id", uint32_t{3});
  writer.add("tokenizer.ggml.padding_token_id", uint32_t{0});
  writer.add("tokenizer.ggml.add_bos_token", true);
  writer.add("tokenizer.ggml.add_space_prefix", false);
}

// --- Tensors

DType dtype_named(const std::string& name) {
#define DECANT_NAMED(format, Format) \
  if (name == #format) return DType::k##Format;
  DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_NAMED)
#undef DECANT_NAMED
  fail(ErrorKind::kInvalidArgument, "synth-model: --weights: expected q4_k_m, {}, got '{}'",
       kWeightFormatNames, name);
}

// A matrix's format. Files of the mixture Q4_K_M spend more bits on some layers' values and on the
// embedding, and take another format where rows are no multiple of 256 long.
DType format_of(const SynthModel& m, bool more_bits, uint64_t columns) {
  const bool k_quants = m.weights == "q4_k_m";
  if (!k_quants) return dtype_named(m.weights);
  if (columns % 256 == 0) return more_bits ? DType::kQ6_K : DType::kQ4_K;
  return more_bits ? DType::kQ8_0 : DType::kQ5_0;
}
bool has_more_bits(const SynthModel& m, uint32_t layer) {
  const uint32_t eighth = m.layers / 8;
  return layer < eighth || layer >= 7 * m.layers / 8 || (layer - eighth) % 3 == 2;
}

class Tensors {
 public:
  Tensors(GgufWriter& writer, const SynthModel& model) : writer_(writer), model_(model) {}

  void matrix(const std::string& name, uint64_t rows, uint64_t columns, bool more_bits,
              double std) {
    const DType dtype = format_of(model_, more_bits, columns);
    const uint32_t block = info(dtype).block_elems;
    require(columns % block == 0,
            "synth-model: {}: rows of {} weights are no multiple of {}'s blocks of {}", name,
            columns, to_string(dtype), block);
    writer_.add_tensor(name + ".weight", dtype, {rows, columns},
                       synth_weights(dtype, rows * columns, std, next_seed()));
  }
  void norm(const std::string& name, uint64_t size, double mean) {
    writer_.add_tensor(name + ".weight", DType::kF32, {size},
                       synth_uniform(size, 0.5 * mean, 1.5 * mean, next_seed()));
  }

 private:
  // Far apart, also for neighbouring seeds of the user.
  uint64_t next_seed() { return model_.seed * 0x9E3779B97F4A7C15u + ++tensors_; }

  GgufWriter& writer_;
  const SynthModel& model_;
  uint64_t tensors_ = 0;
};

}  // namespace

GgufWriter synth_model(const SynthModel& m) {
  require(m.heads % m.kv_heads == 0, "synth-model: --heads: expected a multiple of {}, got {}",
          m.kv_heads, m.heads);
  GgufWriter writer;
  writer.add("general.architecture", "gemma3");
  writer.add("general.type", "model");
  writer.add("general.name", "Random Gemma 3");
  writer.add("gemma3.context_length", m.context);
  writer.add("gemma3.embedding_length", m.hidden);
  writer.add("gemma3.block_count", m.layers);
  writer.add("gemma3.feed_forward_length", m.feed_forward);
  writer.add("gemma3.attention.head_count", m.heads);
  writer.add("gemma3.attention.head_count_kv", m.kv_heads);
  writer.add("gemma3.attention.key_length", m.head_dim);
  writer.add("gemma3.attention.value_length", m.head_dim);
  writer.add("gemma3.attention.layer_norm_rms_epsilon", 1e-6f);
  writer.add("gemma3.attention.sliding_window", m.window);
  writer.add("gemma3.rope.freq_base", 1e6f);
  add_tokenizer(writer, m.vocab);

  Tensors tensors(writer, m);
  const uint64_t q = uint64_t{m.heads} * m.head_dim, kv = uint64_t{m.kv_heads} * m.head_dim;
  const auto std_of = [](uint64_t columns) { return 1 / std::sqrt(static_cast<double>(columns)); };
  // The final norm gives numbers around 1: logits of a deviation of 2.4, as a real model's.
  tensors.matrix("token_embd", m.vocab, m.hidden, true, 2.4 * std_of(m.hidden));
  tensors.norm("output_norm", m.hidden, 1);
  for (uint32_t layer = 0; layer < m.layers; ++layer) {
    const auto name = [&](const char* part) { return fmt::format("blk.{}.{}", layer, part); };
    const auto matrix = [&](const char* part, uint64_t rows, uint64_t columns, bool more_bits) {
      tensors.matrix(name(part), rows, columns, more_bits, std_of(columns));
    };
    const bool more_bits = has_more_bits(m, layer);
    matrix("attn_q", q, m.hidden, false);
    matrix("attn_k", kv, m.hidden, false);
    matrix("attn_v", kv, m.hidden, more_bits);
    matrix("attn_output", m.hidden, q, false);
    matrix("ffn_gate", m.feed_forward, m.hidden, false);
    matrix("ffn_up", m.feed_forward, m.hidden, false);
    matrix("ffn_down", m.hidden, m.feed_forward, more_bits);
    for (const char* part : {"attn_norm", "ffn_norm"}) tensors.norm(name(part), m.hidden, 1);
    // So that the layers say more than the embedding, whose product with itself, the head, would
    // repeat the last token for ever.
    for (const char* part : {"post_attention_norm", "post_ffw_norm"})
      tensors.norm(name(part), m.hidden, 4);
    // Scores that prefer some keys.
    for (const char* part : {"attn_q_norm", "attn_k_norm"})
      tensors.norm(name(part), m.head_dim, 1.5);
  }
  return writer;
}

namespace {

int run(const Options& options) {
  const GgufWriter writer = synth_model(options.model);
  std::ofstream file(options.file, std::ios::binary);
  if (!file) fail(ErrorKind::kIo, "synth-model: {} cannot be written", options.file);
  writer.write(file);
  file.close();
  if (!file) fail(ErrorKind::kIo, "synth-model: {} cannot be written", options.file);
  say(fmt::format("{}: {}", options.file, mebibytes(std::filesystem::file_size(options.file))));
  return kSuccess;
}

}  // namespace

void add_synth_model(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  SynthModel& m = options->model;
  CLI::App* sub = app.add_subcommand("synth-model", "Write a Gemma 3 of random weights");
  sub->add_option("-o,--output", options->file, "The GGUF file to write")
      ->type_name("FILE")
      ->required();
  const auto number = [&](const char* name, uint32_t& value, const char* what, double min,
                          double max) {
    sub->add_option(name, value, what)
        ->type_name("N")
        ->check(between(min, max))
        ->capture_default_str();
  };
  number("--layers", m.layers, "Layers", 1, 1000);
  number("--hidden", m.hidden, "Width of the residual stream", 1, 1 << 19);
  number("--ff", m.feed_forward, "Width of the feed-forward part", 1, 1 << 19);
  number("--heads", m.heads, "Query heads", 1, 1024);
  number("--kv-heads", m.kv_heads, "KV heads", 1, 1024);
  number("--head-dim", m.head_dim, "64, 128 or 256", 64, 256);
  number("--window", m.window, "Keys that sliding layers attend", 1, 1 << 24);
  number("-c,--ctx-size", m.context, "The model's context", 1, 1 << 24);
  number("--vocab", m.vocab, "Pieces of the vocabulary", kSynthMinVocab, kSynthMaxVocab);
  sub->add_option("--weights", m.weights, "q4_k_m, or one format for all matrices: q8_0, f16, ...")
      ->type_name("FORMAT")
      ->capture_default_str();
  sub->add_option("--seed", m.seed, "Seed")->type_name("N")->capture_default_str();
  sub->footer(
      "By default as large and in the formats of Gemma 3 270M, Q4_K_M: what measures the speed of\n"
      "the real model where it is not at hand. The same options give the same bytes.\n"
      "Example: decant synth-model -o /tmp/random.gguf && decant bench -m /tmp/random.gguf");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
