/* Memory for short calls, and the few functions of a C library that the bindings and compilers ask for. Only for WebAssembly.
 *
 * Blocks lie one behind the other, and only the last is ever given back: an instance lives for one call, then the host throws it away. The
 * room that a call needs is reserved when the plugin is configured, so that a call does not grow memory.
 *
 * Invariant: every block is aligned to ALIGNMENT and inside the memory that the host granted; where it grants no more, the plugin traps.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "portcullis.h"

#define ALIGNMENT ((size_t)16)
#define PAGE ((size_t)65536)

/* From the linker: where static data and the stack end. */
extern unsigned char __heap_base;

static uintptr_t next; /* where the next block begins */
static uintptr_t last; /* where the last one began */

static uintptr_t up(uintptr_t at) { return (at + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1); }

/* Sees to it that memory reaches up to `end`. */
static void reach(uintptr_t end) {
    size_t have = __builtin_wasm_memory_size(0) * PAGE;
    if (end <= have) return;
    size_t pages = (end - have + PAGE - 1) / PAGE;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) abort();
}

void *malloc(size_t size) {
    if (next == 0) next = up((uintptr_t)&__heap_base);
    if (size > INT32_MAX) abort();
    reach(next + size);
    last = next;
    next = up(next + size);
    return (void *)last;
}

void *calloc(size_t count, size_t size) {
    if (size != 0 && count > INT32_MAX / size) abort();
    void *block = malloc(count * size);
    /* What was given back and taken again is not fresh. */
    return memset(block, 0, count * size);
}

void *realloc(void *block, size_t size) {
    if (block == NULL) return malloc(size);
    uintptr_t at = (uintptr_t)block;
    if (at == last) {
        if (size > INT32_MAX) abort();
        reach(at + size);
        next = up(at + size);
        return block;
    }
    /* How long the old block is nobody wrote down; it ends before `next`, and so does a copy of it. */
    void *moved = malloc(size);
    size_t most = (uintptr_t)moved - at;
    return memmove(moved, block, size < most ? size : most);
}

void free(void *block) {
    if (block != NULL && (uintptr_t)block == last) next = last;
}

void abort(void) { __builtin_trap(); }

void pc_reserve(size_t room) {
    if (next == 0) next = up((uintptr_t)&__heap_base);
    reach(next + room);
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    unsigned char *a = to;
    const unsigned char *b = from;
    for (size_t i = 0; i < size; i++) a[i] = b[i];
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    unsigned char *a = to;
    const unsigned char *b = from;
    if ((uintptr_t)a <= (uintptr_t)b) {
        for (size_t i = 0; i < size; i++) a[i] = b[i];
    } else {
        for (size_t i = size; i > 0; i--) a[i - 1] = b[i - 1];
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    unsigned char *a = to;
    for (size_t i = 0; i < size; i++) a[i] = (unsigned char)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++) {
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != '\0') length++;
    return length;
}

/* The bindings ask for an object file with the world's name; `portcullis plugin componentize` knows it without. */
void __component_type_object_force_link_plugin(void);
void __component_type_object_force_link_plugin(void) {}
