# What tools/dev does inside the toolchain. Sourced by tools/dev; the working directory is the caller's.

export CCACHE_DIR=$LINNET_CACHE/ccache CCACHE_BASEDIR=$LINNET_CHECKOUT CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=4G CCACHE_SLOPPINESS=pch_defines,time_macros

cmd_shell() { if [[ $# == 0 ]]; then exec bash; else exec "$@"; fi; }
