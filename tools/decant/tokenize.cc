// decant tokenize: text to token ids.
#include <fmt/ranges.h>

#include <memory>

#include "decant/text/tokenizer.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"

namespace decant::cli {
namespace {

struct Options {
  std::string model;
  std::string text;
  std::string file;
  bool ids = false;
  bool no_bos = false;
  bool no_special = false;
};

int run(const Options& options, bool from_file) {
  const Tokenizer tokenizer = Tokenizer::from_gguf(open_model(options.model));
  const std::string text = from_file ? read_text(options.file) : text_or_stdin(options.text);
  const std::vector<int32_t> ids =
      tokenizer.encode(text, {.add_bos = !options.no_bos, .parse_special = !options.no_special});
  if (options.ids) {
    put("[{}]\n", fmt::join(ids, ", "));
    return kSuccess;
  }
  for (const int32_t id : ids) {
    // As JSON strings: a newline in a piece must not look like one between pieces.
    const Json piece = tokenizer.piece(id);
    put("{:>6} {}\n", id, piece.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  return kSuccess;
}

}  // namespace

void add_tokenize(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("tokenize", "Show the tokens of a text");
  add_model_option(*sub, options->model);
  CLI::Option* text = sub->add_option("-p,--prompt", options->text,
                                      "The text; - reads stdin without the newline at its end")
                          ->type_name("TEXT");
  CLI::Option* file =
      sub->add_option("-f,--file", options->file, "A file, every byte of it; - reads stdin")
          ->type_name("FILE");
  sub->add_flag("--ids", options->ids, "Print the ids as a JSON list");
  sub->add_flag("--no-bos", options->no_bos, "Do not begin with the <bos> token");
  sub->add_flag("--no-special", options->no_special,
                "Take control tokens in the text, such as <start_of_turn>, as text");
  sub->footer(
      "Without --ids: one token a line, its id and its piece as the vocabulary has it (a space is\n"
      "U+2581).\n"
      "Example: decant tokenize --ids -p \"Hello  world\"");
  sub->callback([options, text, file, &chosen] {
    if (text->count() + file->count() != 1)
      throw UsageError("tokenize: expected one text: -p TEXT, -p - for stdin, or -f FILE");
    chosen = [options, from_file = file->count() > 0] { return run(*options, from_file); };
  });
}

}  // namespace decant::cli
