#include "testing/metal_host/faults.h"

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <array>
#include <cstddef>
#include <vector>

namespace decant::metal_host {
namespace {

constexpr std::array kSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
std::array<struct sigaction, kSignals.size()> g_previous;
thread_local sigjmp_buf* g_landing = nullptr;
thread_local Fault g_fault;

const void* instruction(const ucontext_t& context) {
#if defined(__x86_64__)
  return reinterpret_cast<const void*>(context.uc_mcontext.gregs[REG_RIP]);
#else
  return reinterpret_cast<const void*>(context.uc_mcontext.pc);
#endif
}
bool is_write(const ucontext_t& context) {
#if defined(__x86_64__)
  return (context.uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
  return (context.uc_mcontext.fault_address & 0) != 0;  // not told
#endif
}

void handle(int signal, siginfo_t* info, void* raw_context) {
  const auto& context = *static_cast<const ucontext_t*>(raw_context);
  if (g_landing != nullptr) {
    g_fault = {signal, info->si_addr, instruction(context), is_write(context)};
    siglongjmp(*g_landing, 1);
  }
  // Not ours: as it was before. On return the instruction faults again.
  for (size_t i = 0; i < kSignals.size(); ++i)
    if (kSignals[i] == signal) sigaction(signal, &g_previous[i], nullptr);
}

void install() {
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &g_previous[i]);
}

// A fiber that overran its stack has none for the handler.
void need_alternate_stack() {
  stack_t current{};
  sigaltstack(nullptr, &current);
  if ((current.ss_flags & SS_DISABLE) == 0) return;
  thread_local std::vector<std::byte> memory(64 * 1024);
  const stack_t stack{memory.data(), 0, memory.size()};
  sigaltstack(&stack, nullptr);
}

}  // namespace

std::optional<Fault> catch_faults(void (*body)(void*), void* argument) {
  static const bool installed = (install(), true);
  (void)installed;
  need_alternate_stack();
  sigjmp_buf landing;
  if (sigsetjmp(landing, 1) != 0) {
    g_landing = nullptr;
    return g_fault;
  }
  g_landing = &landing;
  body(argument);
  g_landing = nullptr;
  return std::nullopt;
}

}  // namespace decant::metal_host
