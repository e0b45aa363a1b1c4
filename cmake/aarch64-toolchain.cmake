# Cross build for 64-bit ARM on Debian: g++-aarch64-linux-gnu, libraries of the arm64 architecture
# next to the machine's own, qemu-user to run the result. scripts/setup --ci installs them, and
# unpacks sentencepiece, whose package cannot be installed for two architectures, into build/.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# The machine's own libraries are never candidates.
set(CMAKE_IGNORE_PREFIX_PATH /usr/lib/x86_64-linux-gnu /usr/local)
set(sysroot ${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-sysroot/usr)
set(sentencepiece_LIBRARY ${sysroot}/lib/aarch64-linux-gnu/libsentencepiece.so CACHE FILEPATH "")
set(sentencepiece_INCLUDE_DIR ${sysroot}/include CACHE PATH "")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
