// For tests that nothing is allocated. A test that calls this has its operator new replaced.
#ifndef DECANT_TESTING_COUNT_ALLOCATIONS_H_
#define DECANT_TESTING_COUNT_ALLOCATIONS_H_

#include <cstddef>

namespace decant::testing {

// Calls of operator new so far, by all threads.
size_t count_allocations();

}  // namespace decant::testing

#endif  // DECANT_TESTING_COUNT_ALLOCATIONS_H_
