/* Dates, time zones, shifts and holidays.
 *
 * An instant is a number of milliseconds since the Unix epoch, as `call->received` is.
 *
 * Time zones are those of the IANA database in `src/zones.c`. They are right for local times
 * from 1970-01-01 to 9999-12-31, as far as the laws of today are those of then. Outside of that,
 * and for text that is not what it must be, functions return false.
 *
 * A local time that occurs twice (clocks set back) is the earlier of the two; one that does not
 * occur (clocks set forward) is moved on by the length of the gap. RFC 5545 does the same.
 *
 * Nothing here depends on a clock, a locale or the machine. A plugin that uses none of it does
 * not contain the zones.
 */
#ifndef PORTCULLIS_CALENDAR_H
#define PORTCULLIS_CALENDAR_H

#include "portcullis.h"

/* A day of the years 1 to 9999. */
typedef struct {
    int32_t year;
    uint8_t month, day;
} pc_date;

/* A local date and time. */
typedef struct {
    pc_date date;
    uint8_t hour, minute, second;
    uint16_t millisecond;
} pc_local;

/* Hours of a day, by the clock on the wall: from `begin` on and before `end`, in minutes since
 * midnight. Where `end` is not later, they go over midnight. */
typedef struct {
    uint16_t begin, end;
} pc_shift;

/* A time zone; its members are for `pc_zone_named` alone. */
typedef struct {
    int64_t *moments; /* seconds since the epoch of the listed changes */
    int32_t *offsets; /* the offset before each change, and the last one's after it */
    size_t count;
    int32_t rule[10];
    size_t rule_count;
} pc_zone;

/* Days in settings. */
typedef struct {
    pc_date *days; /* year 0: every year */
    size_t count;
} pc_holidays;

/* The version of the IANA database. */
extern const char pc_tzdb[];

/* Text such as `2026-11-30`. */
bool pc_parse_date(pc_text text, pc_date *date);
/* A time with an offset, such as `2026-11-30T17:00:00+01:00` (RFC 3339). Parts of milliseconds
 * are cut off, and a leap second counts as the second before it. */
bool pc_parse_instant(pc_text text, int64_t *instant);
/* The date as text, as tables have it. */
pc_text pc_date_text(pc_date date);
/* Below zero where `a` is earlier, zero where both are the same, else above. */
int pc_compare_dates(pc_date a, pc_date b);
/* 1 is Monday, 7 is Sunday. */
unsigned pc_weekday(pc_date date);
/* Some days later; earlier, where `days` is negative. */
bool pc_add_days(pc_date *date, int64_t days);
/* Some months later. Where that month has no such day, it is its last: one month after 31 January
 * is 28 or 29 February. */
bool pc_add_months(pc_date *date, int64_t months);

/* A time zone by its name in the IANA database, such as `Europe/Berlin`. It takes time: ask for it
 * in `portcullis_configure`. */
bool pc_zone_named(pc_text name, pc_zone *zone);
/* The local date and time of an instant. */
bool pc_local_time(const pc_zone *zone, int64_t instant, pc_local *local);
/* The instant at which they show this. */
bool pc_instant(const pc_zone *zone, const pc_local *local, int64_t *instant);
/* The first instant of a day: midnight, or the end of the gap where there is no midnight. A day
 * that does not occur starts when the next one does. */
bool pc_start_of_day(const pc_zone *zone, pc_date date, int64_t *instant);
/* The first instant after a day, which is the start of the next. */
bool pc_end_of_day(const pc_zone *zone, pc_date date, int64_t *instant);

/* Hours such as `22:00` to `06:00`. They can end at `24:00`, and the same time twice means all 24
 * hours. */
bool pc_parse_shift(pc_text begin, pc_text end, pc_shift *shift);
/* The day on which the shift began that this instant is within; false where it is within none.
 * The clock on the wall decides: the night in which clocks change has an hour more or less. */
bool pc_shift_day(const pc_zone *zone, int64_t instant, pc_shift shift, pc_date *date);

/* Days in settings: an array of text such as `2026-12-25`, or `12-25` for every year. Tells what
 * is no such day as a problem below `path`, and leaves it out. */
pc_holidays pc_read_holidays(const pc_value *array, pc_text path, pc_problems *problems);
bool pc_is_holiday(const pc_holidays *holidays, pc_date date);
/* Whether a reference table has a row with this day as its key. Needs the capability
 * `reference`; `pc_lookup` with `pc_date_text` also tells whether the table is stale, and what
 * the row says. */
bool pc_holiday_in_table(pc_text table, pc_date date);

#endif
