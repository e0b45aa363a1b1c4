#ifndef DECANT_TESTING_METAL_HOST_MACH_H_
#define DECANT_TESTING_METAL_HOST_MACH_H_

typedef int kern_return_t;
typedef unsigned int task_id_token_t;

#endif  // DECANT_TESTING_METAL_HOST_MACH_H_
