# Apple's metal-cpp: headers only. DECANT_METAL_CPP names a folder that has them (scripts/setup --test
# makes the default one); without it they are fetched from Apple.
set(DECANT_METAL_CPP ${CMAKE_SOURCE_DIR}/build/metal-cpp
    CACHE PATH "Folder of metal-cpp's headers: that of Metal/Metal.hpp")
if(NOT EXISTS ${DECANT_METAL_CPP}/Metal/Metal.hpp)
  include(FetchContent)
  FetchContent_Declare(metal_cpp
    URL https://developer.apple.com/metal/cpp/files/metal-cpp_macOS15_iOS18.zip
    DOWNLOAD_EXTRACT_TIMESTAMP ON)
  FetchContent_MakeAvailable(metal_cpp)
  set(DECANT_METAL_CPP ${metal_cpp_SOURCE_DIR})
endif()
