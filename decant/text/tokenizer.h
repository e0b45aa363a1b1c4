// Text to token ids and back, as Gemma 3 does it: SentencePiece BPE with byte fallback, fed with
// the vocabulary of a GGUF file.
#ifndef DECANT_TEXT_TOKENIZER_H_
#define DECANT_TEXT_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/text/utf8.h"

namespace decant {

class GgufFile;

// The numbers of SentencePiece's model format and of tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // <bos>, <start_of_turn>: structure, not text
  kUserDefined = 4,  // always matched as a unit: runs of spaces or newlines, HTML tags
  kUnused = 5,
  kByte = 6,  // "<0x0A>": one byte of a character without a piece of its own
};

// A vocabulary as a GGUF file holds it. Only read while a Tokenizer is constructed.
struct TokenizerModel {
  std::span<const std::string_view> pieces;  // by id
  std::span<const float> scores;             // as many; BPE merges the best score first
  std::span<const int32_t> types;            // as many TokenType numbers
  int32_t bos;
  int32_t eos;
  int32_t unk;
  int32_t end_of_turn = -1;  // -1: the vocabulary has none
  bool add_bos = true;       // whether the model wants its input to begin with bos
};

struct EncodeOptions {
  bool add_bos = true;        // begin with bos, if the model wants one
  bool parse_special = true;  // control pieces in the text become their ids, not text
};

// Immutable; all methods may be called from any thread.
class Tokenizer {
 public:
  // Throws InvalidArgument: arrays of different lengths, an empty or repeated piece, a NUL in a
  // piece, a score that is not finite, an unknown type, byte pieces that are not all 256, an id
  // outside the vocabulary.
  explicit Tokenizer(const TokenizerModel& model);
  // From the tokenizer.ggml.* metadata. Throws also GgufParse for a missing key or one of another
  // type, and InvalidArgument for a tokenizer other than SentencePiece's.
  static Tokenizer from_gguf(const GgufFile& file);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Throws InvalidArgument naming the offset of the first invalid byte, or for more than
  // kMaxTextBytes. An empty text gives bos alone, or nothing.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  static constexpr size_t kMaxTextBytes = size_t{1} << 28;

  // Always valid UTF-8: what is not becomes U+FFFD. Control pieces are left out unless
  // `with_control`. Throws InvalidArgument for an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids, bool with_control = false) const;

  // The piece as the vocabulary has it, spaces as U+2581. Throws like decode.
  std::string_view piece(int32_t id) const;
  TokenType type(int32_t id) const;

  int32_t vocab_size() const;
  int32_t bos() const;
  int32_t eos() const;
  int32_t end_of_turn() const;  // -1: none
  // Whether a text ends here: eos or end_of_turn.
  bool is_end(int32_t id) const { return id == eos() || (id == end_of_turn() && id >= 0); }

 private:
  friend class Detokenizer;
  // Appends the bytes that `id` stands for.
  void append_bytes(int32_t id, bool with_control, std::string& out) const;

  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

// Text from ids one by one: what push() returns never ends within a UTF-8 character. After the
// first few calls nothing is allocated.
class Detokenizer {
 public:
  // The tokenizer must outlive it.
  explicit Detokenizer(const Tokenizer& tokenizer, bool with_control = false)
      : tokenizer_(&tokenizer), with_control_(with_control) {}

  // The text that is complete with this id, often empty; valid until the next call.
  std::string_view push(int32_t id);
  // The end: U+FFFD if a character is unfinished. Ready for another text afterwards.
  std::string_view flush();

 private:
  const Tokenizer* tokenizer_;
  bool with_control_;
  Utf8Stream stream_;
  std::string bytes_, text_;
};

// One user turn in Gemma's chat format, up to where the model's answer begins; encode with
// parse_special. A marker within `prompt` counts as a marker.
std::string chat_prompt(std::string_view prompt);

}  // namespace decant

#endif  // DECANT_TEXT_TOKENIZER_H_
