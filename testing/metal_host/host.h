// How the stand-in for Metal runs what its command buffers hold.
#ifndef DECANT_TESTING_METAL_HOST_HOST_H_
#define DECANT_TESTING_METAL_HOST_HOST_H_

#include <cstdint>
#include <string>

namespace decant::metal_host {

// The first values come from the environment: DECANT_METAL_HOST_SEED, DECANT_METAL_HOST_SCHEDULES,
// DECANT_METAL_HOST_CHECKED=1.
struct HostOptions {
  uint64_t seed = 2;  // of the threads' schedules, and of the order of dispatches between barriers
  uint32_t schedules =
      1;                 // seed, seed + 1, ...: each is run, and the results must be the same bits
  bool checked = false;  // libraries made from now on check every access
  bool allow_returned_lanes = false;
  bool residency_sets = true;  // as from macOS 15 on; before it their class does not exist
};
HostOptions host_options();
void set_host_options(const HostOptions& options);

// How many objects of a class, such as "MTLBuffer", nobody has released yet.
long live_objects(const std::string& class_name);
// How many allocations all residency sets have, as last committed.
long resident_allocations();

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_HOST_H_
