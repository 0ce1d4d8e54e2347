/* Natively, without the few functions of `include/` that stand in for a C library. */
#include "../include/portcullis.h"
