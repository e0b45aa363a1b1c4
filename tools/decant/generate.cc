// decant generate: text from a prompt, as it comes into being.
#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <random>

#include "decant/models/gemma3/model.h"
#include "decant/text/sampler.h"
#include "decant/text/tokenizer.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"

namespace decant::cli {
namespace {

constexpr uint32_t kDefaultContext = 4096;

struct Options {
  std::string model;
  std::string prompt;
  int64_t max_tokens = 128;         // -1: until the end
  std::optional<uint32_t> context;  // 0: the model's own
  SamplerOptions sampler;
  std::optional<uint64_t> seed;
  bool chat = false;
  bool json = false;
  bool no_echo = false;
  DeviceOptions device;
  Activations activations = gemma3::ModelOptions{}.activations;
};

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Why the text ends.
enum class Stop { kEnd, kLength, kContext, kInterrupted };
const char* to_string(Stop stop) {
  switch (stop) {
    case Stop::kEnd:
      return "end";
    case Stop::kLength:
      return "length";
    case Stop::kContext:
      return "context";
    default:
      return "interrupted";
  }
}

struct Result {
  std::string text;             // filled for --json only
  std::vector<int32_t> tokens;  // without the one that ends the text
  size_t prompt_tokens = 0;
  size_t steps = 0;  // tokens sampled after the first
  double load_s = 0, prompt_s = 0, first_token_s = 0, steps_s = 0;
  Stop stop = Stop::kLength;
};

double rate(size_t tokens, double seconds) {
  return tokens > 0 && seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

std::vector<int32_t> prompt_tokens(const Options& options, const std::string& prompt,
                                   const Tokenizer& tokenizer) {
  const size_t invalid = find_invalid_utf8(prompt);
  require(invalid == std::string::npos, "generate: prompt: invalid UTF-8 at byte {}", invalid);
  if (options.chat) {
    require(!prompt.empty(), "generate: prompt: --chat needs one that is not empty");
    require(tokenizer.end_of_turn() >= 0,
            "generate: --chat: the model's vocabulary has no <end_of_turn>; it is for "
            "instruction-tuned Gemma files");
  }
  return tokenizer.encode(options.chat ? chat_prompt(prompt) : prompt);
}

// Runs the prompt, in parts so that Ctrl-C is heard between them. False if it was.
bool run_prompt(gemma3::Model& model, std::span<const int32_t> tokens) {
  constexpr size_t kPart = 512;
  for (; !tokens.empty(); tokens = tokens.subspan(std::min(kPart, tokens.size()))) {
    if (interrupted()) return false;
    model.prompt(tokens.first(std::min(kPart, tokens.size())));
  }
  return !interrupted();
}

template <typename OnText>
void generate(gemma3::Model& model, Sampler& sampler, const Tokenizer& tokenizer,
              std::span<const int32_t> prompt, int64_t max_tokens, Result& result,
              const OnText& on_text) {
  const auto begin = Clock::now();
  const bool complete = run_prompt(model, prompt);
  result.prompt_tokens = prompt.size();
  result.prompt_s = seconds_since(begin);
  if (!complete) {
    result.stop = Stop::kInterrupted;
    return;
  }
  if (max_tokens == 0) return;
  sampler.accept(prompt);

  Detokenizer detokenizer(tokenizer);
  // False if the text ends, and why.
  const auto take = [&](int32_t token) {
    const bool end = tokenizer.is_end(token);
    if (!end) {
      result.tokens.push_back(token);
      on_text(detokenizer.push(token));
    }
    if (end)
      result.stop = Stop::kEnd;
    else if (interrupted())
      result.stop = Stop::kInterrupted;
    else if (max_tokens >= 0 && result.tokens.size() >= static_cast<size_t>(max_tokens))
      result.stop = Stop::kLength;
    else if (model.room() == 0)
      result.stop = Stop::kContext;
    else
      return true;
    return false;
  };
  const bool goes_on = take(model.start(sampler));
  const auto first = Clock::now();
  result.first_token_s = seconds_since(begin);
  if (goes_on) {
    const size_t room = model.room();
    const size_t most =
        max_tokens < 0 ? room
                       : std::min(room, static_cast<size_t>(max_tokens) - result.tokens.size());
    model.steps(most, [&](int32_t token) {
      ++result.steps;
      result.steps_s = seconds_since(first);
      return take(token);
    });
  }
  on_text(detokenizer.flush());
}

void print_as_json(const Result& result, const Options& options, const GgufFile& file,
                   const gemma3::Model& model, uint64_t seed) {
  print_json({{"model", file.name()},
              {"device", model.device().name()},
              {"n_threads", model.device().info().compute_units},
              {"n_ctx", model.context()},
              {"text", result.text},
              {"tokens", result.tokens},
              {"n_prompt", result.prompt_tokens},
              {"n_gen", result.tokens.size()},
              {"stop", to_string(result.stop)},
              {"temp", options.sampler.temp},
              {"seed", seed},
              {"timings",
               {{"load_ms", result.load_s * 1e3},
                {"prompt_ms", result.prompt_s * 1e3},
                {"first_token_ms", result.first_token_s * 1e3},
                {"gen_ms", result.steps_s * 1e3},
                {"prompt_tokens_per_s", rate(result.prompt_tokens, result.prompt_s)},
                {"gen_tokens_per_s", rate(result.steps, result.steps_s)}}}},
             -1);
}

void say_closing_line(const Result& result, const Options& options, uint64_t seed) {
  std::string line =
      fmt::format("prompt: {} tokens, {:.1f} tokens/s; generation: {} tokens, {:.1f} tokens/s",
                  result.prompt_tokens, rate(result.prompt_tokens, result.prompt_s),
                  result.tokens.size(), rate(result.steps, result.steps_s));
  if (result.first_token_s > 0)
    line += fmt::format("; first token after {:.0f} ms", result.first_token_s * 1e3);
  if (options.sampler.temp > 0) line += fmt::format("; seed {}", seed);
  say(dimmed(Stream::kStderr, line));
}

int run(const Options& options) {
  options.sampler.validate();
  const Device device = open_device(options.device);
  const auto begin = Clock::now();
  const GgufFile file = open_model(options.model);
  const gemma3::Config config = gemma3::config_from(file);
  const Tokenizer tokenizer = Tokenizer::from_gguf(file);
  file.prefetch();
  const double opened_s = seconds_since(begin);

  const std::string prompt = text_or_stdin(options.prompt);
  const std::vector<int32_t> tokens = prompt_tokens(options, prompt, tokenizer);
  require(!tokens.empty(), "generate: prompt: has no tokens, and this model wants no <bos>");
  const auto begin_model = Clock::now();
  gemma3::Model model(
      device, file,
      {.context = options.context.value_or(std::min(kDefaultContext, config.context)),
       .activations = options.activations});
  require(tokens.size() <= model.context(),
          "generate: prompt: {} tokens do not fit the context of {}; -c makes it larger, up to the "
          "model's {}",
          tokens.size(), model.context(), config.context);

  SamplerOptions sampler_options = options.sampler;
  // 32 random bits, short enough to be typed again.
  sampler_options.seed = options.seed ? *options.seed : std::random_device{}();
  Sampler sampler(device, config.vocab, sampler_options);
  Result result;
  result.load_s = opened_s + seconds_since(begin_model);

  catch_interrupt();
  if (!options.json && !options.chat && !options.no_echo) {
    put(dimmed(Stream::kStdout, prompt));
    flush();
  }
  generate(model, sampler, tokenizer, tokens, options.max_tokens, result,
           [&](std::string_view text) {
             if (options.json) {
               result.text += text;
             } else if (!text.empty()) {
               put(text);
               flush();
             }
           });
  if (options.json)
    print_as_json(result, options, file, model, sampler_options.seed);
  else
    put("\n");
  flush();
  if (result.stop == Stop::kContext)
    say(fmt::format(
        "context full: stopped after {} tokens; -c makes it larger, up to the model's {}",
        model.context(), config.context));
  say_closing_line(result, options, sampler_options.seed);
  return result.stop == Stop::kInterrupted ? kInterrupted : kSuccess;
}

void add_sampler_options(CLI::App& sub, Options& options) {
  constexpr double kAny = std::numeric_limits<double>::infinity();
  SamplerOptions& sampler = options.sampler;
  const auto add = [&](const char* name, auto& value, const char* help, double min, double max) {
    sub.add_option(name, value, help)
        ->type_name("X")
        ->check(between(min, max))
        ->capture_default_str()
        ->group("Sampling, in this order");
  };
  add("--repeat-penalty", sampler.repeat_penalty, "Divides the logits of recent tokens; 1 is off",
      1e-6, kAny);
  add("--repeat-last-n", sampler.repeat_last_n, "How many tokens are recent, the prompt's included",
      0, 1 << 20);
  add("--top-k", sampler.top_k, "Only the K likeliest tokens; 0 is off", 0, INT32_MAX);
  add("--top-p", sampler.top_p, "Only the likeliest that have this probability together; 1 is off",
      0, 1);
  add("--min-p", sampler.min_p,
      "Only those with this share of the likeliest's probability; 0 is off", 0, 1);
  add("--temp", sampler.temp, "Temperature; 0 always takes the likeliest token", 0, kAny);
  sub.add_option("--seed", options.seed, "Same seed, same text (default: random)")
      ->type_name("N")
      ->check(between(0, 18446744073709551615.0))
      ->group("Sampling, in this order");
}

}  // namespace

void add_generate(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("generate", "Generate text from a prompt");
  add_model_option(*sub, options->model);
  sub->add_option("-p,--prompt", options->prompt,
                  "The prompt; - reads stdin without the newline at its end")
      ->type_name("TEXT")
      ->required();
  sub->add_option("-n,--n-predict", options->max_tokens,
                  "Tokens to generate at most; -1: until the model ends or the context is full")
      ->type_name("N")
      ->check(between(-1, INT32_MAX))
      ->capture_default_str();
  sub->add_option("-c,--ctx-size", options->context,
                  "Tokens of prompt and text; 0: as many as the model knows (default: 4096)")
      ->type_name("N")
      ->check(between(0, INT32_MAX));
  add_threads_option(*sub, options->device);
  add_device_option(*sub, options->device);
  add_activations_option(*sub, options->activations);
  sub->add_flag("--chat", options->chat,
                "Ask an instruction-tuned model: wraps the prompt in Gemma's turn markers");
  sub->add_flag("--no-echo", options->no_echo, "Do not print the prompt before the text");
  sub->add_flag("--json", options->json,
                "Print one JSON object at the end: text, tokens, timings, stop, seed");
  add_sampler_options(*sub, *options);
  sub->footer(
      "Prints the prompt and the text that follows it; with --chat or --json only the text. A "
      "line\n"
      "with the speeds goes to stderr. After an empty prompt the model begins a text of its own.\n"
      "Ctrl-C ends the text, a second one the program.\n"
      "Examples:\n"
      "  decant generate -p \"The capital of France is\" -n 32 --temp 0\n"
      "  decant generate -m gemma-3-1b-it.gguf --chat -p - < question.txt");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
