// decant bench: tokens per second of prompt processing and generation, as llama-bench measures it.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>

#include "decant/models/gemma3/model.h"
#include "decant/text/sampler.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"
#include "tools/decant/model_facts.h"
#include "tools/decant/roofline.h"

namespace decant::cli {
namespace {

struct Options {
  std::string model;
  std::string prompts = "512";
  std::string generations = "128";
  std::string depths = "0";
  std::string threads;  // empty: physical cores
  uint32_t repetitions = 5;
  std::string format = "md";
  bool limit = false;  // measure what memory would allow as well
  DeviceOptions device;
  Activations activations = gemma3::ModelOptions{}.activations;
};

// One of n_prompt and n_gen is 0.
struct Test {
  uint32_t n_prompt, n_gen, n_depth;

  std::string name() const {
    std::string text = n_prompt ? fmt::format("pp{}", n_prompt) : fmt::format("tg{}", n_gen);
    if (n_depth) text += fmt::format(" @ d{}", n_depth);
    return text;
  }
  uint32_t tokens() const { return n_prompt + n_gen; }
};

struct Measurement {
  Test test;
  std::string backend;  // as llama-bench names it: CPU, CUDA
  uint32_t n_threads;
  std::vector<double> seconds;  // of each repetition
  double reads_per_s = 0;       // bytes, measured between the repetitions; 0: not measured

  // Mean and sample standard deviation of f over the repetitions.
  template <typename F>
  std::pair<double, double> statistics(const F& f) const {
    std::vector<double> values(seconds.size());
    std::transform(seconds.begin(), seconds.end(), values.begin(), f);
    const auto n = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    return {mean, n > 1 ? std::sqrt(squares / (n - 1)) : 0.0};
  }
  std::pair<double, double> tokens_per_s() const {
    return statistics([&](double s) { return test.tokens() / s; });
  }
  std::pair<double, double> nanoseconds() const {
    return statistics([](double s) { return s * 1e9; });
  }
};

class Runner {
 public:
  Runner(gemma3::Model& model, int32_t bos)
      : model_(model),
        bos_(bos),
        sampler_(model.device(), model.config().vocab, {.temp = 0, .top_k = 0}) {}

  // `limit`, if there is one, measures memory every few of the generated tokens: what it gives may
  // change within a second.
  double seconds(const Test& test, RooflineMeter* limit = nullptr) {
    model_.reset();
    if (test.n_depth) model_.prompt(random_tokens(test.n_depth));
    if (test.n_prompt) {
      const std::vector<int32_t> tokens = random_tokens(test.n_prompt);
      return timed([&] { model_.prompt(tokens); });
    }
    // The graph is captured outside the measured time; each measured step is one forward pass and
    // one greedy choice.
    if (!test.n_depth) model_.prompt(std::span(&bos_, 1));
    model_.start(sampler_);
    if (!limit) return generate(test.n_gen);
    constexpr uint32_t kSlice = 16;
    double seconds = 0;
    for (uint32_t done = 0; done < test.n_gen; done += kSlice) {
      limit->measure_reads();
      seconds += generate(std::min(kSlice, test.n_gen - done));
    }
    limit->measure_reads();
    return seconds;
  }

 private:
  double generate(uint32_t count) {
    return timed([&] { model_.steps(count, [](int32_t) { return true; }); });
  }

  template <typename F>
  static double timed(const F& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  std::vector<int32_t> random_tokens(uint32_t count) {
    std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(model_.config().vocab) - 1);
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = any(random_);
    tokens[0] = bos_;
    return tokens;
  }

  gemma3::Model& model_;
  int32_t bos_;
  Sampler sampler_;
  std::mt19937 random_{1};
};

// What decoding reads: each weight once, and the keys and values of the tokens attended to.
class TokenBytes {
 public:
  TokenBytes(const GgufFile& file, const gemma3::Config& config, uint64_t tensor_bytes)
      : config_(config), weights_(static_cast<double>(tensor_bytes)) {
    // Of embeddings that are not the output projection as well, a row is read.
    const bool tied = std::none_of(file.tensors().begin(), file.tensors().end(),
                                   [](const GgufTensor& t) { return t.name == "output.weight"; });
    if (!tied) weights_ -= static_cast<double>(file.tensor("token_embd.weight").bytes.size());
  }

  // The mean over the test's tokens, whose first attends those before it and itself.
  double mean(const Test& test) const {
    const double attended = test.n_depth + (test.n_gen + 1) / 2.0;
    double bytes = weights_;
    for (const bool global : config_.global) {
      const bool whole = global || config_.sliding_window == 0;
      const double keys = whole ? attended : std::min<double>(attended, config_.sliding_window);
      bytes += keys * config_.kv_dim() * 2 * sizeof(uint16_t);
    }
    return bytes;
  }

 private:
  gemma3::Config config_;
  double weights_;
};

class Report {
 public:
  Report(std::string format, bool limit, const GgufFile& file, const gemma3::Config& config)
      : format_(std::move(format)),
        limit_(limit),
        file_(file.name()),
        facts_(model_facts(file)),
        token_bytes_(file, config, facts_.tensor_bytes) {
    if (format_ == "md")
      put("| {:<30} | {:>10} | {:>10} | {:<10} | {:>7} | {:>15} | {:>20} |{}\n"
          "| {:-<30} | {:->9}: | {:->9}: | {:-<10} | {:->6}: | {:->14}: | {:->19}: |{}\n",
          "model", "size", "params", "backend", "threads", "test", "t/s",
          limit_ ? " reads GB/s | limit t/s | % of it |" : "", "", "", "", "", "", "", "",
          limit_ ? " ---------: | --------: | ------: |" : "");
    else if (format_ == "csv")
      put("backends,model_filename,model_type,model_size,model_n_params,n_threads,n_prompt,n_gen,"
          "n_depth,avg_ns,stddev_ns,avg_ts,stddev_ts\n");
    flush();
  }

  void add(const Measurement& m) {
    const auto [avg_ts, stddev_ts] = m.tokens_per_s();
    const auto [avg_ns, stddev_ns] = m.nanoseconds();
    const bool limited = limit_ && m.test.n_gen != 0;
    const double token_bytes = token_bytes_.mean(m.test), limit_ts = m.reads_per_s / token_bytes;
    if (format_ == "md") {
      const std::string limits =
          limited ? fmt::format(" {:>10.1f} | {:>9.2f} | {:>7.1f} |", m.reads_per_s / 1e9, limit_ts,
                                100 * avg_ts / limit_ts)
          : limit_ ? fmt::format(" {:>10} | {:>9} | {:>7} |", "-", "-", "-")
                   : "";
      put("| {:<30} | {:>10} | {:>8.2f} M | {:<10} | {:>7} | {:>15} | {:>20} |{}\n", facts_.type,
          mebibytes(facts_.tensor_bytes), static_cast<double>(facts_.parameters) / 1e6, m.backend,
          m.n_threads, m.test.name(), fmt::format("{:.2f} ± {:.2f}", avg_ts, stddev_ts), limits);
    } else if (format_ == "csv") {
      put("\"{}\",{},{},\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{:.0f}\",\"{:.0f}\",\"{:.6f}"
          "\","
          "\"{:.6f}\"\n",
          m.backend, quoted(file_), quoted(facts_.type), facts_.tensor_bytes, facts_.parameters,
          m.n_threads, m.test.n_prompt, m.test.n_gen, m.test.n_depth, avg_ns, stddev_ns, avg_ts,
          stddev_ts);
    } else {
      Json samples_ns = Json::array(), samples_ts = Json::array();
      for (const double s : m.seconds) {
        samples_ns.push_back(std::llround(s * 1e9));
        samples_ts.push_back(m.test.tokens() / s);
      }
      rows_.push_back({{"backends", m.backend},
                       {"model_filename", file_},
                       {"model_type", facts_.type},
                       {"model_size", facts_.tensor_bytes},
                       {"model_n_params", facts_.parameters},
                       {"n_threads", m.n_threads},
                       {"n_prompt", m.test.n_prompt},
                       {"n_gen", m.test.n_gen},
                       {"n_depth", m.test.n_depth},
                       {"avg_ns", std::llround(avg_ns)},
                       {"stddev_ns", std::llround(stddev_ns)},
                       {"avg_ts", avg_ts},
                       {"stddev_ts", stddev_ts},
                       {"samples_ns", std::move(samples_ns)},
                       {"samples_ts", std::move(samples_ts)}});
      if (limited)
        rows_.back().update({{"token_bytes", std::llround(token_bytes)},
                             {"reads_gbps", m.reads_per_s / 1e9},
                             {"limit_ts", limit_ts}});
    }
    flush();
  }
  void finish() {
    if (format_ == "json") print_json(rows_);
  }

 private:
  static std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + '"';
  }

  std::string format_;
  bool limit_;
  std::string file_;
  ModelFacts facts_;
  TokenBytes token_bytes_;
  Json rows_ = Json::array();
};

std::vector<Test> tests_of(const Options& options) {
  constexpr uint32_t kMax = 1 << 24;
  const auto prompts = parse_list("bench: -p", options.prompts, 0, kMax);
  const auto generations = parse_list("bench: -n", options.generations, 0, kMax);
  const auto depths = parse_list("bench: -d", options.depths, 0, kMax);
  std::vector<Test> tests;
  for (const uint32_t depth : depths) {
    for (const uint32_t n : prompts)
      if (n) tests.push_back({n, 0, depth});
    for (const uint32_t n : generations)
      if (n) tests.push_back({0, n, depth});
  }
  if (tests.empty()) throw UsageError("bench: nothing to measure: -p and -n are both 0");
  return tests;
}

// As llama-bench names them.
std::string backend_of(const Device& device) {
  std::string name(to_string(device.info().backend));
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return name;
}

// Memory past the caches, written: a page that never was may be the one page of zeros.
Buffer written_memory(const Device& device) {
  Buffer memory = device.buffer(DType::kU8, {256 << 20});
  const auto bytes = memory.span<uint8_t>();
  std::fill(bytes.begin(), bytes.end(), uint8_t{1});
  return memory;
}

int run(const Options& options) {
  const std::vector<Test> tests = tests_of(options);
  const std::vector<uint32_t> threads = options.threads.empty()
                                            ? std::vector<uint32_t>{0}
                                            : parse_list("bench: -t", options.threads, 1, 4096);
  uint32_t context = 0;
  for (const Test& test : tests)  // one more: <bos>, of a generation without depth
    context = std::max(context, test.n_depth + test.tokens() + (test.n_depth ? 0 : 1));
  const GgufFile file = open_model(options.model);
  const gemma3::Config config = gemma3::config_from(file);
  require(
      context <= config.context,
      "bench: the tests need a context of {} tokens, the model's is {}; make -p, -n or -d smaller",
      context, config.context);
  const auto bos = file.get_or<int32_t>("tokenizer.ggml.bos_token_id", 0);
  file.prefetch();

  std::optional<Report> report;  // says nothing before the model has loaded
  for (const uint32_t count : threads) {
    const Device device = open_device({.name = options.device.name, .threads = count});
    if (options.limit && device.info().asynchronous)
      throw UsageError("bench: --limit: measures a CPU's memory; a GPU's is in bench-op's table");
    gemma3::Model model(device, file, {.context = context, .activations = options.activations});
    if (!report) report.emplace(options.format, options.limit, file, config);
    Runner runner(model, bos);
    std::unique_ptr<RooflineMeter> limit;
    if (options.limit) limit = std::make_unique<RooflineMeter>(device, written_memory(device));
    for (const Test& test : tests) {
      // What a first run pays once: pages of the file, memory, code.
      runner.seconds({test.n_prompt, std::min(test.n_gen, 8u), 0});
      Measurement measurement{test, backend_of(device), device.info().compute_units, {}};
      if (limit) limit->start();
      for (uint32_t i = 0; i < options.repetitions; ++i)
        measurement.seconds.push_back(runner.seconds(test, limit.get()));
      if (limit && test.n_gen != 0) measurement.reads_per_s = limit->median().bytes_per_s;
      report->add(measurement);
    }
  }
  report->finish();
  return kSuccess;
}

}  // namespace

void add_bench(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench", "Measure tokens per second, as llama-bench does");
  add_model_option(*sub, options->model);
  const auto add_list = [&](const char* name, std::string& value, const char* help) {
    sub->add_option(name, value, help)->type_name("N,...")->capture_default_str();
  };
  add_list("-p,--n-prompt", options->prompts, "Prompt tokens: tests pp<N>; 0: none");
  add_list("-n,--n-gen", options->generations, "Generated tokens: tests tg<N>; 0: none");
  add_list("-d,--n-depth", options->depths, "Tokens already in the cache: tests \"... @ d<N>\"");
  sub->add_option("-r,--repetitions", options->repetitions, "Runs of each test, after a warm-up")
      ->type_name("N")
      ->check(between(1, 1'000'000))
      ->capture_default_str();
  sub->add_option("-t,--threads", options->threads, "Threads (default: physical cores)")
      ->type_name("N,...");
  add_device_option(*sub, options->device);
  add_activations_option(*sub, options->activations);
  add_format_option(*sub, options->format, {"md", "csv", "json"});
  sub->add_flag("--limit", options->limit,
                "Measure every 16 generated tokens how fast memory is read, and compare (CPU)");
  sub->footer(
      "Several values of -p, -n, -d and -t, separated by commas, are all measured. t/s is the "
      "mean\n"
      "over the repetitions ± their standard deviation. Tokens are random; generation is greedy.\n"
      "Example: decant bench -p 512 -n 128 -d 0,4096 -t 2");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
