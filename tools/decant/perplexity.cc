// decant perplexity: how well a model predicts a text.
#include <chrono>
#include <cmath>
#include <memory>

#include "decant/models/gemma3/model.h"
#include "decant/text/tokenizer.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"
#include "tools/decant/log_sum_exp.h"

namespace decant::cli {
namespace {

struct Options {
  std::string model;
  std::string file;
  uint32_t context = 2048;
  bool json = false;
  DeviceOptions device;
  Activations activations = gemma3::ModelOptions{}.activations;
};

// Sum of the negative log-likelihoods of the tokens first + 1 .. of one chunk.
double chunk_nll(gemma3::Model& model, std::span<const int32_t> chunk, size_t first) {
  double nll = 0;
  model.reset();
  model.evaluate(chunk, first, [&](size_t i, std::span<const float> logits) {
    if (i + 1 == chunk.size()) return;  // what follows the chunk is not scored
    const auto next = static_cast<size_t>(chunk[i + 1]);
    nll += log_sum_exp(logits) - static_cast<double>(logits[next]);
  });
  return nll;
}

int run(const Options& options) {
  const Device device = open_device(options.device);
  const GgufFile file = open_model(options.model);
  const gemma3::Config config = gemma3::config_from(file);
  const Tokenizer tokenizer = Tokenizer::from_gguf(file);
  std::vector<int32_t> tokens = tokenizer.encode(read_text(options.file));
  const size_t context = options.context;
  const size_t chunks = tokens.size() / context;
  require(chunks > 0,
          "perplexity: {}: {} tokens are less than one chunk of {}; give a longer text or a "
          "smaller -c",
          options.file, tokens.size(), context);
  file.prefetch();
  gemma3::Model model(device, file,
                      {.context = options.context, .activations = options.activations});

  // llama.cpp's method: whole chunks, <bos> in place of each one's first token, and the second half
  // scored, so that each scored token has half a chunk before it.
  const size_t first = context / 2, scored = context - first - 1;
  const auto begin = std::chrono::steady_clock::now();
  double nll = 0;
  Json cumulative = Json::array();
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    const std::span<int32_t> part = std::span(tokens).subspan(chunk * context, context);
    part[0] = tokenizer.bos();
    nll += chunk_nll(model, part, first);
    const double so_far = std::exp(nll / static_cast<double>((chunk + 1) * scored));
    cumulative.push_back(so_far);
    if (!options.json) {
      put("[{}] {:.4f}\n", chunk + 1, so_far);
      flush();
    }
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double perplexity = cumulative.back().get<double>();
  if (options.json)
    print_json({{"model", file.name()},
                {"file", options.file},
                {"n_ctx", context},
                {"n_chunks", chunks},
                {"n_scored", chunks * scored},
                {"perplexity", perplexity},
                {"cumulative", std::move(cumulative)}});
  else
    put("perplexity {:.4f} over {} chunks of {} tokens, {} tokens scored\n", perplexity, chunks,
        context, chunks * scored);
  flush();
  say(dimmed(Stream::kStderr,
             fmt::format("{} tokens in {:.1f} s, {:.1f} tokens/s", chunks * context, seconds,
                         static_cast<double>(chunks * context) / seconds)));
  return kSuccess;
}

}  // namespace

void add_perplexity(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  add_model_option(*sub, options->model);
  sub->add_option("-f,--file", options->file, "The text, UTF-8; - reads stdin")
      ->type_name("FILE")
      ->required();
  sub->add_option("-c,--ctx-size", options->context, "Tokens of a chunk")
      ->type_name("N")
      ->check(between(4, INT32_MAX))
      ->capture_default_str();
  add_threads_option(*sub, options->device);
  add_device_option(*sub, options->device);
  add_activations_option(*sub, options->activations);
  sub->add_flag("--json", options->json, "Print one JSON object at the end");
  sub->footer(
      "The text is cut into whole chunks (a rest is left out), each begins with <bos>, and the\n"
      "second half of each is scored: exp of the mean negative log-likelihood, as llama.cpp's\n"
      "llama-perplexity measures it. Prints the value so far after every chunk.\n"
      "Example: decant perplexity -f /usr/share/common-licenses/GPL-3");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
