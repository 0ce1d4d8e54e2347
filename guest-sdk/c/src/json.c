/* JSON text (RFC 8259) to values.
 *
 * Invariant: reads no byte outside the text, whatever it is, and recurses at most DEEPEST times: a plugin's stack is small.
 */
#include <stdlib.h>
#include <string.h>

#include "portcullis.h"

#define DEEPEST 64

typedef struct {
    const uint8_t *at, *end;
} reader;

static void blank(reader *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) in->at++;
}

static bool next_is(reader *in, uint8_t byte) {
    if (in->at == in->end || *in->at != byte) return false;
    in->at++;
    return true;
}

static bool word(reader *in, const char *letters) {
    size_t length = strlen(letters);
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, letters, length) != 0) return false;
    in->at += length;
    return true;
}

static bool hex4(reader *in, uint32_t *value) {
    if (in->end - in->at < 4) return false;
    *value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = *in->at++;
        if (digit >= '0' && digit <= '9') digit -= '0';
        else if (digit >= 'a' && digit <= 'f') digit -= 'a' - 10;
        else if (digit >= 'A' && digit <= 'F') digit -= 'A' - 10;
        else return false;
        *value = *value << 4 | digit;
    }
    return true;
}

/* A character of `\uXXXX`, of two where it takes a pair. */
static bool escaped(reader *in, uint32_t *character) {
    if (!hex4(in, character)) return false;
    if (*character >= 0xdc00 && *character <= 0xdfff) return false;
    if (*character < 0xd800 || *character > 0xdbff) return true;
    uint32_t low;
    if (!next_is(in, '\\') || !next_is(in, 'u') || !hex4(in, &low) || low < 0xdc00 || low > 0xdfff) return false;
    *character = 0x10000 + ((*character - 0xd800) << 10 | (low - 0xdc00));
    return true;
}

static uint8_t *utf8(uint8_t *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (uint8_t)c;
    } else if (c < 0x800) {
        *out++ = (uint8_t)(0xc0 | c >> 6);
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (uint8_t)(0xe0 | c >> 12);
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        *out++ = (uint8_t)(0xf0 | c >> 18);
        *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    return out;
}

/* What stands between quotes; borrowed from the text where it has no escapes. */
static bool string(reader *in, pc_text *text) {
    if (!next_is(in, '"')) return false;
    const uint8_t *begin = in->at;
    while (in->at < in->end && *in->at != '"' && *in->at != '\\' && *in->at >= ' ') in->at++;
    if (next_is(in, '"')) {
        *text = (pc_text){(uint8_t *)begin, (size_t)(in->at - 1 - begin)};
        return true;
    }
    /* No escape is shorter than what it says. */
    uint8_t *out = malloc((size_t)(in->end - begin)), *to = out;
    size_t plain = (size_t)(in->at - begin);
    memcpy(to, begin, plain);
    to += plain;
    while (in->at < in->end) {
        uint8_t byte = *in->at++;
        if (byte == '"') {
            *text = (pc_text){out, (size_t)(to - out)};
            return true;
        }
        if (byte < ' ') return false;
        if (byte != '\\') {
            *to++ = byte;
            continue;
        }
        if (in->at == in->end) return false;
        uint32_t character;
        switch (*in->at++) {
            case '"': *to++ = '"'; break;
            case '\\': *to++ = '\\'; break;
            case '/': *to++ = '/'; break;
            case 'b': *to++ = '\b'; break;
            case 'f': *to++ = '\f'; break;
            case 'n': *to++ = '\n'; break;
            case 'r': *to++ = '\r'; break;
            case 't': *to++ = '\t'; break;
            case 'u':
                if (!escaped(in, &character)) return false;
                to = utf8(to, character);
                break;
            default: return false;
        }
    }
    return false;
}

static bool digits(reader *in) {
    const uint8_t *begin = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
    return in->at > begin;
}

static bool number(reader *in, pc_text *text) {
    const uint8_t *begin = in->at;
    next_is(in, '-');
    if (!next_is(in, '0') && !digits(in)) return false;
    if (next_is(in, '.') && !digits(in)) return false;
    if (next_is(in, 'e') || next_is(in, 'E')) {
        if (!next_is(in, '+')) next_is(in, '-');
        if (!digits(in)) return false;
    }
    *text = (pc_text){(uint8_t *)begin, (size_t)(in->at - begin)};
    return true;
}

static bool value(reader *in, pc_value *found, int depth);

/* Members until `close`; `found` says whether they have names. */
static bool members(reader *in, pc_value *found, uint8_t close, int depth) {
    size_t room = 0;
    blank(in);
    if (next_is(in, close)) return true;
    do {
        if (found->count == room) {
            room = room == 0 ? 4 : room * 2;
            found->values = realloc(found->values, room * sizeof *found->values);
            if (found->type == PC_OBJECT) found->names = realloc(found->names, room * sizeof *found->names);
        }
        if (found->type == PC_OBJECT) {
            blank(in);
            if (!string(in, &found->names[found->count])) return false;
            blank(in);
            if (!next_is(in, ':')) return false;
        }
        if (!value(in, &found->values[found->count], depth)) return false;
        found->count++;
        blank(in);
    } while (next_is(in, ','));
    return next_is(in, close);
}

static bool value(reader *in, pc_value *found, int depth) {
    *found = (pc_value){.type = PC_NULL};
    blank(in);
    if (in->at == in->end || depth == DEEPEST) return false;
    switch (*in->at) {
        case '{': in->at++; found->type = PC_OBJECT; return members(in, found, '}', depth + 1);
        case '[': in->at++; found->type = PC_ARRAY; return members(in, found, ']', depth + 1);
        case '"': found->type = PC_STRING; return string(in, &found->text);
        case 'n': return word(in, "null");
        case 't': found->type = PC_BOOLEAN; found->boolean = true; return word(in, "true");
        case 'f': found->type = PC_BOOLEAN; return word(in, "false");
        default: found->type = PC_NUMBER; return number(in, &found->text);
    }
}

bool pc_parse(pc_text json, pc_value *found) {
    reader in = {json.ptr, json.ptr + json.len};
    if (!value(&in, found, 0)) return false;
    blank(&in);
    return in.at == in.end;
}

const pc_value *pc_member(const pc_value *object, const char *name) {
    if (object == NULL || object->type != PC_OBJECT) return NULL;
    for (size_t i = 0; i < object->count; i++) {
        if (pc_is(object->names[i], name)) return &object->values[i];
    }
    return NULL;
}

bool pc_whole(const pc_value *number, uint32_t *found) {
    if (number == NULL || number->type != PC_NUMBER) return false;
    uint64_t whole = 0;
    for (size_t i = 0; i < number->text.len; i++) {
        uint8_t digit = number->text.ptr[i];
        if (digit < '0' || digit > '9') return false;
        whole = whole * 10 + (digit - '0');
        if (whole > UINT32_MAX) return false;
    }
    *found = (uint32_t)whole;
    return true;
}
