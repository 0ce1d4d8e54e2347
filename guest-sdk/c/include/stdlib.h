/* What the generated bindings need of a C library, and no more. `src/arena.c` has it; natively your own library does. */
#ifndef PORTCULLIS_STDLIB_H
#define PORTCULLIS_STDLIB_H
#include <stddef.h>
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void free(void *block);
_Noreturn void abort(void);
#endif
