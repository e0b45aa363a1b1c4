#ifndef DECANT_TESTING_METAL_HOST_DISPATCH_H_
#define DECANT_TESTING_METAL_HOST_DISPATCH_H_

typedef struct dispatch_queue_s* dispatch_queue_t;
typedef struct dispatch_data_s* dispatch_data_t;

#endif  // DECANT_TESTING_METAL_HOST_DISPATCH_H_
