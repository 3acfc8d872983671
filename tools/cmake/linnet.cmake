# Compiler settings, dependencies and the functions by which the folders declare their targets:
#   linnet_library(NAME SRCS ... DEPS ...)        a static library
#   linnet_binary(NAME SRCS ... DEPS ...)         a program, in build/<preset>/bin
#   linnet_test(NAME SRCS ... DEPS ... [LABELS ...] [ARGS ...])   a GoogleTest program, registered with ctest
#   linnet_benchmark(NAME SRCS ... DEPS ...)      a Google Benchmark program, in bin
#   linnet_fuzzer(NAME SRCS ... DEPS ... [CORPUS DIR])  a libFuzzer target where LINNET_FUZZ is on, elsewhere a test
#                                                 that replays the corpus

set(LINNET_SANITIZE "" CACHE STRING "Sanitizers: empty, 'address' (with UBSan) or 'thread'")
option(LINNET_FUZZ "Build fuzz targets with libFuzzer (needs clang)" OFF)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)  # there are none; the scan doubles the work and hides compilations from ccache
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

add_compile_options(-Wall -Wextra -Werror -Wno-missing-field-initializers -Wno-unused-parameter -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # The distribution's libraries are built by g++, whose mangling of constrained templates later clangs do not share.
  add_compile_options(-Wthread-safety -Werror=thread-safety -Wno-unused-command-line-argument -fclang-abi-compat=17)
endif()
if(LINNET_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined)
  if(NOT LINNET_FUZZ)
    # Half of the time that compiling takes; ASan finds most of what these do, and fuzz targets, which read foreign
    # bytes, have them.
    add_compile_options(-fno-sanitize=alignment,null,object-size,pointer-overflow,vptr)
  endif()
  add_link_options(-fsanitize=address,undefined)
elseif(LINNET_SANITIZE STREQUAL "thread")
  # Protobuf's headers change their types' layout where they see the macro; the distribution's library has not.
  add_compile_options(-fsanitize=thread -Wno-tsan -U__SANITIZE_THREAD__)
  add_link_options(-fsanitize=thread)
endif()
if(LINNET_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(LINNET_CCACHE ccache)
if(LINNET_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${LINNET_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${LINNET_CCACHE}")
endif()
find_program(LINNET_LLD ld.lld)
if(LINNET_LLD)
  add_link_options(-fuse-ld=lld)
endif()

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
# By name: the closure of its packages takes pkg-config 20 seconds, through gRPC's own configuration as well.
add_library(grpc INTERFACE)
target_link_libraries(grpc INTERFACE -lgrpc++ -lgrpc -lgpr absl::status absl::synchronization absl::cord)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
find_package(prometheus-cpp REQUIRED CONFIG)
find_package(dnnl REQUIRED CONFIG)

# Header-only libraries whose bodies are compiled once instead of in every file that includes them: half of the time that
# these files take.
function(linnet_bodies name)
  cmake_parse_arguments(A "" "" "HEADERS;DEFINES" ${ARGN})
  list(TRANSFORM A_HEADERS REPLACE "(.+)" "#include <\\1>\n")
  string(JOIN "" includes ${A_HEADERS})
  set(file "${CMAKE_BINARY_DIR}/header_only/${name}.cc")
  file(CONFIGURE OUTPUT "${file}" CONTENT "${includes}" @ONLY)
  add_library(${name} STATIC EXCLUDE_FROM_ALL "${file}")
  target_compile_options(${name} PRIVATE -w)
  target_compile_definitions(${name} PUBLIC ${A_DEFINES})
endfunction()
linnet_bodies(cli11 DEFINES CLI11_COMPILE HEADERS CLI/CLI.hpp CLI/impl/App_inl.hpp CLI/impl/Argv_inl.hpp CLI/impl/Config_inl.hpp
  CLI/impl/Encoding_inl.hpp CLI/impl/Formatter_inl.hpp CLI/impl/Option_inl.hpp CLI/impl/Split_inl.hpp
  CLI/impl/StringTools_inl.hpp CLI/impl/Validators_inl.hpp)
linnet_bodies(boost_http DEFINES BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
  HEADERS boost/asio/impl/src.hpp boost/beast/src.hpp)

# So that sources include "kernels/matrix.h" and generated "linnet/v1/generation.pb.h" alike.
include_directories("${CMAKE_SOURCE_DIR}")


function(linnet_library name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${A_SRCS})
  target_link_libraries(${name} PUBLIC ${A_DEPS} Threads::Threads)
endfunction()

function(linnet_binary name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE ${A_DEPS} Threads::Threads)
endfunction()

function(linnet_test name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE ${A_DEPS} GTest::gmock GTest::gtest_main Threads::Threads)
  target_compile_options(${name} PRIVATE -O1)  # a test's own code is run once and compiled often
  add_test(NAME ${name} COMMAND ${name} ${A_ARGS} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS "unit;${A_LABELS}"
    ENVIRONMENT "ASAN_OPTIONS=allow_user_poisoning=0:detect_leaks=1;TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp:halt_on_error=1")
endfunction()

function(linnet_benchmark name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE ${A_DEPS} benchmark::benchmark_main Threads::Threads)
endfunction()

function(linnet_fuzzer name)
  cmake_parse_arguments(A "" "CORPUS" "SRCS;DEPS" ${ARGN})
  if(LINNET_FUZZ)
    add_executable(${name} ${A_SRCS})
    target_link_libraries(${name} PRIVATE ${A_DEPS} -fsanitize=fuzzer Threads::Threads)
  else()
    add_executable(${name} ${A_SRCS} "${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.cc")
    target_link_libraries(${name} PRIVATE ${A_DEPS} Threads::Threads)
    add_test(NAME ${name}_corpus COMMAND ${name} "${CMAKE_SOURCE_DIR}/${A_CORPUS}")
    set_tests_properties(${name}_corpus PROPERTIES TIMEOUT 300 LABELS "unit;fuzz")
  endif()
endfunction()

# linnet_folder(NAME DEPS ... [SUBFOLDERS ...]): everything in the current folder, and in those of its subfolders that
# belong to the same library, by its name. `*_test.cc` are tests named NAME_<file>, `*_bench.cc` benchmarks, `*_fuzz.cc`
# fuzz targets with their corpus in tests/fuzz/corpus/<file>, `main.cc` is left to the caller, and the rest is the
# library NAME.
function(linnet_folder name)
  cmake_parse_arguments(A "" "" "DEPS;TEST_DEPS;SUBFOLDERS" ${ARGN})
  set(globs "${CMAKE_CURRENT_SOURCE_DIR}/*.cc")
  foreach(subfolder IN LISTS A_SUBFOLDERS)
    list(APPEND globs "${CMAKE_CURRENT_SOURCE_DIR}/${subfolder}/*.cc")
  endforeach()
  file(GLOB all CONFIGURE_DEPENDS ${globs})
  set(srcs ${all})
  list(FILTER srcs EXCLUDE REGEX "(_test|_bench|_fuzz|/main)\\.cc$")
  if(srcs)
    linnet_library(${name} SRCS ${srcs} DEPS ${A_DEPS})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${A_DEPS})
  endif()
  foreach(f IN LISTS all)
    get_filename_component(stem "${f}" NAME_WE)
    if(stem MATCHES "_test$")
      linnet_test(${name}_${stem} SRCS "${f}" DEPS ${name} ${A_TEST_DEPS})
    elseif(stem MATCHES "_bench$")
      linnet_benchmark(${stem} SRCS "${f}" DEPS ${name})
    elseif(stem MATCHES "_fuzz$")
      linnet_fuzzer(${stem} SRCS "${f}" DEPS ${name} CORPUS tests/fuzz/corpus/${stem})
    endif()
  endforeach()
endfunction()
