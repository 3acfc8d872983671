# The toolchain of the preset aarch64: Debian's cross compiler and the arm64 packages beside it (multiarch), in the root
# that `tools/dev cross` enters. Tests run in qemu's user emulation, on the processor that QEMU_CPU names, else on one with
# every extension that qemu has.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(PKG_CONFIG_EXECUTABLE aarch64-linux-gnu-pkg-config)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
