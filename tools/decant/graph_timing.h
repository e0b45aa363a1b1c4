// Times of one call inside a graph of many, as a GPU runs them while decoding, and of kernels that
// only read.
#ifndef DECANT_TOOLS_DECANT_GRAPH_TIMING_H_
#define DECANT_TOOLS_DECANT_GRAPH_TIMING_H_

#include <cstddef>
#include <functional>
#include <span>

#include "decant/core/encoder.h"

namespace decant::cli {

// Records call number i; calls take their inputs from memory in turn.
using RecordCall = std::function<void(CommandEncoder& encoder, size_t i)>;

// How many calls of `bytes` each one graph should hold: enough that starting it is no part of what
// is measured.
size_t calls_in_graph(double bytes);

// Median seconds of a call in a graph of `calls`, replayed for at least `min_seconds`.
double seconds_in_graph(const Device& device, size_t calls, const RecordCall& record,
                        double min_seconds);

// The least time in which the device reads one of `parts`, each of the same size, in a graph that
// reads them in turn: the fastest of several kernels that do nothing else. CUDA only.
double read_only_seconds(const Device& device, std::span<const Buffer> parts);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_GRAPH_TIMING_H_
