// decant: text from Gemma 3, and measurements of the kernels that make it.
#include <signal.h>

#include <new>

#include "decant/core/error.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"

namespace decant::cli {
namespace {

// Parses and runs. Throws what the subcommands throw; CLI::ParseError never leaves.
int parse_and_run(int argc, char** argv) {
  CLI::App app("decant: text from Gemma 3, and measurements of the kernels that make it", "decant");
  app.set_version_flag("--version", "decant " DECANT_VERSION);
  app.require_subcommand(1);
  app.footer(
      "`decant COMMAND --help` shows the options of a command.\n"
      "Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 error, 2 a "
      "command\n"
      "line that cannot be understood, 130 stopped by Ctrl-C.\n"
      "Environment: DECANT_CACHE_DIR (where the default model lies), NO_COLOR.");
  app.get_formatter()->column_width(26);

  Command chosen;
  for (const auto add : {add_generate, add_bench, add_bench_op, add_perplexity, add_tokenize,
                         add_info, add_devices, add_synth_model})
    add(app, chosen);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForVersion&) {
    put("{}\n", app.version());
    return kSuccess;
  } catch (const CLI::CallForHelp&) {
    const auto subcommands = app.get_subcommands();
    put(subcommands.empty() ? app.help() : subcommands.front()->help("decant"));
    put("\n");
    return kSuccess;
  } catch (const CLI::ParseError& error) {
    if (app.get_subcommands().empty()) {
      std::string commands;
      for (const CLI::App* sub : app.get_subcommands(nullptr))
        commands += (commands.empty() ? "" : ", ") + sub->get_name();
      const std::vector<std::string> rest = app.remaining();
      throw UsageError(fmt::format("expected a command, got {}; there are: {}",
                                   rest.empty() ? "none" : "'" + rest.front() + "'", commands));
    }
    const CLI::App& sub = *app.get_subcommands().front();
    // A misspelled option matters more than what is missing because of it.
    const std::vector<std::string> rest = sub.remaining();
    throw UsageError(
        fmt::format("{}: {}\nSee `decant {} --help`.", sub.get_name(),
                    rest.empty() ? error.what() : "unexpected argument '" + rest.front() + "'",
                    sub.get_name()));
  }
  return chosen();
}

int run(int argc, char** argv) {
  // A reader that goes away shows as a failed write, so that what was begun is ended in order.
  ::signal(SIGPIPE, SIG_IGN);
  try {
    const int code = parse_and_run(argc, argv);
    flush();
    return code;
  } catch (const BrokenPipe&) {
    return kBrokenPipe;
  } catch (const UsageError& error) {
    say_error(error.what());
    return kUsage;
  } catch (const std::bad_alloc&) {
    say_error("out of memory");
    return kFailure;
  } catch (const std::exception& error) {
    say_error(error.what());
    return kFailure;
  }
}

}  // namespace
}  // namespace decant::cli

int main(int argc, char** argv) { return decant::cli::run(argc, argv); }
