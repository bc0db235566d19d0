"""Names that C and C++ keep for themselves: keywords, and what the headers of a firmware project declare."""

from __future__ import annotations

# Of C23 and C++20, with the macros of C's headers that stand for them.
_KEYWORDS = """
alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor bool break case catch char
char16_t char32_t char8_t class co_await co_return co_yield compl complex concept const const_cast consteval constexpr
constinit continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
friend goto if imaginary inline int long mutable namespace new noexcept noreturn not not_eq nullptr operator or or_eq
private protected public reflexpr register reinterpret_cast requires restrict return short signed sizeof static
static_assert static_cast struct switch synchronized template this thread_local throw true try typedef typeid typename
typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
# Of <stdio.h>, <stdlib.h>, <string.h>, <time.h> and what POSIX adds to them, the macros of Arduino, and namespaces.
_LIBRARY = """
BUFSIZ DEFAULT EOF FILE HIGH INFINITY INPUT LOW NAN NULL OUTPUT RAND_MAX a64l abort alloca arduino asctime asprintf
at_quick_exit atexit atof atoi atol atoll basename bcmp bcopy bit bsearch byte bzero calloc clearenv clearerr clock
constrain ctermid ctime daylight degrees difftime dprintf drand48 ecvt environ erand48 errno exit fclose fcvt fdopen
feof ferror fflush ffs fgetc fgetpos fgets fileno flatbuffers flockfile fmemopen fopen fprintf fputc fputs fread free
freopen fscanf fseek fseeko fsetpos ftell ftello fwrite gcvt getc getchar getdelim getenv getline gets getw gmtime index
initstate interrupts jrand48 l64a labs lcong48 ldiv llabs lldiv localtime lrand48 malloc max mblen mbstowcs mbtowc
memccpy memchr memcmp memcpy memmem memmove mempcpy memrchr memset min mkdtemp mkstemp mktemp mktime mrand48 nrand48
on_exit pclose perror popen printf pselect putc putchar putenv puts putw qsort qsort_r quick_exit radians rand rand_r
random realloc reallocarray realpath remove rename rewind rindex scanf seed48 select setbuf setbuffer setenv setlinebuf
setstate setvbuf snprintf sprintf sq srand srand48 srandom sscanf std stderr stdin stdout stpcpy stpncpy strcasecmp
strcasestr strcat strchr strcmp strcoll strcpy strcspn strdup strerror strftime strlcat strlcpy strlen strncasecmp
strncat strncmp strncpy strndup strnlen strpbrk strrchr strsep strsignal strspn strstr strtod strtof strtok strtok_r
strtol strtold strtoll strtoul strtoull strxfrm system tempnam tflite time timezone tmpfile tmpnam tzname tzset u_char
u_int u_long u_short uint ulong ungetc unsetenv ushort va_list valloc vasprintf vfprintf vfscanf vprintf vscanf
vsnprintf vsprintf vsscanf wcstombs wctomb
"""
# Of <math.h> and <stdlib.h>: each is there for double, and with f and l behind it for float and long double.
_MATHS = """
abs acos acosh aligned_alloc asin asinh atan atan2 atanh canonicalize cbrt ceil copysign cos cosh div drem erf erfc exp
exp10 exp2 expm1 fabs fadd fdim finite floor fma fmax fmin fmod fmul frexp fsqrt fsub gamma hypot ilogb isinf isnan
iszero j0 j1 jn ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan nearbyint nextafter
nexttoward pow remainder remquo rint round roundeven scalb scalbln scalbn signgam significand sin sincos sinh sqrt tan
tanh tgamma trunc y0 y1 yn
"""


def is_taken(name: str) -> bool:
    """Returns whether a variable cannot have a name, in C or in C++, beside the headers that firmware includes.

    Types of POSIX end in `_t`, and it keeps all such names for more of them.

    Args:
        name: an identifier.

    Example:
        >>> [each for each in ("int", "sinf", "index", "size_t", "keywords", "sinus") if is_taken(each)]
        ['int', 'sinf', 'index', 'size_t']
    """
    maths = _MATHS.split()
    if name in (*_KEYWORDS.split(), *_LIBRARY.split(), *maths) or name.endswith("_t"):
        return True
    return name.endswith(("f", "l")) and name[:-1] in maths
