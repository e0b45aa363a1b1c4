#!/usr/bin/env python3
"""Writes tokenizer_fixtures.json: texts and the ids that llama.cpp's llama-tokenize gives them.

    make_tokenizer_fixtures.py --llama-tokenize PROGRAM --model gemma3-270m-q4_k_m.gguf

Any Gemma 3 GGUF serves: all have one tokenizer. The file's "command" field names the exact flags:
the text comes from a file and is taken verbatim, BOS is prepended, and special tokens in the text
are parsed, both by the program's defaults. The long text is the start of the GPL-3 as Debian ships
it; another system can name its copy with --gpl3.
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from pathlib import Path

OUTPUT = Path(__file__).with_name("tokenizer_fixtures.json")
FLAGS = "--no-escape --ids --log-disable"
GPL3_BYTES = 6000

CPP = """\
template <typename T, size_t N>
[[nodiscard]] constexpr auto dot(const std::array<T, N>& a, const T* b) noexcept -> T {
  T sum{};  // accumulates in T
  for (size_t i = 0; i < N; ++i) sum += a[i] * b[i];
  return sum != T{} ? sum : static_cast<T>(-0x1.8p-3);
}
"""

PYTHON_TABS = """\
class Cache:
\tdef __init__(self, size: int = 1 << 10) -> None:
\t\tself.data = {i: f"{i:>4d}" for i in range(size)}
\t\tif not self.data:
\t\t\traise ValueError("empty")  # never
"""

PYTHON_SPACES = """\
@lru_cache(maxsize=None)
def fib(n):
    if n < 2:
        return n
    else:
        return fib(n - 1) + fib(n - 2)


if __name__ == "__main__":
    print(*(fib(i) for i in range(10)), sep=", ")
"""

PROSE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness — “it was”, as they said, ‘the epoch of belief’…"
)

CHAT = (
    "<start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\nIt is 4.<end_of_turn>\n"
)

# Whatever a text does to a tokenizer: the names say what each is about.
CASES = {
    "empty": "",
    "hello": "Hello world",
    "two spaces between words": "Hello  world",
    "capital of France": "The capital of France is",
    "one letter": "a",
    # Whitespace.
    "one space": " ",
    "two spaces": "  ",
    "three spaces": "   ",
    "31 spaces, the longest piece": " " * 31,
    "32 spaces": " " * 32,
    "70 spaces": " " * 70,
    "leading space": " Hello",
    "leading spaces": "    Hello",
    "trailing space": "Hello ",
    "trailing spaces": "Hello   ",
    "spaces everywhere": "  a  b   c    d     ",
    "one newline": "\n",
    "31 newlines, the longest piece": "\n" * 31,
    "40 newlines": "\n" * 40,
    "one tab": "\t",
    "40 tabs": "\t" * 40,
    "newlines and spaces": "a\n b \n\n  c\n \n \n",
    "tabs and spaces": "\t a \t\tb\t  \tc ",
    "CRLF": "first\r\nsecond\r\n\r\nthird\r",
    "space before newline": "word \nnext  \n\n",
    "vertical tab and form feed": "a\x0bb\x0cc",
    "no-break and typographic spaces": "a\u00a0b\u2002c\u2003d\u2009e\u202ff\u3000g",
    "line and paragraph separators": "a\u2028b\u2029c\u0085d",
    # Never beside a space or itself: SentencePiece, whose escape for a space this is, takes such a
    # pair for the piece of two spaces, and llama.cpp for two single ones.
    "the escape for a space, literally": "a\u2581b,\u2581c",
    # Code.
    "C++": CPP,
    "Python with tabs": PYTHON_TABS,
    "Python with spaces": PYTHON_SPACES,
    "JSON": '{"key": [1, 2.5e-3, null, true], "nested": {"a\\"b": "\\u00e9\\n"}}',
    "shell": "for f in *.gguf; do echo \"$f\" | sed -e 's/^/> /' >> out.txt 2>&1; done",
    "SQL": "SELECT COUNT(*) FROM t WHERE name LIKE '%_x' AND id >= 10;--",
    "LaTeX": "\\frac{\\partial L}{\\partial w_i} = \\sum_{j=1}^{n} x_j^2 \\cdot \\text{ReLU}(z)_j",
    "HTML": '<div class="a"><p>Text &amp; more</p><br/></div>',
    "URL": "https://example.org/a/b?c=d&e=%20f#g",
    "camelCase and snake_case": "getHTTPResponseCode my_long_variable_name SCREAMING_CASE_2",
    "operators": "a!=b&&c<=d||e>>=f<<1??g?.h:i->j::k...l=>m**n//o",
    # Prose and numbers.
    "prose": PROSE,
    "contractions": "I'm you're he'll they've can't won't it's o'clock",
    "all capitals": "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "punctuation": "Wait... what?! (Really?) [Yes] {no} -- – — «quoted»; end.",
    "numbers": "0 1 12 123 1234 12345 1234567890 3.14159 -273.15 1e-10 0xDEADBEEF 1,000,000 007",
    "date and time": "2024-02-29T23:59:60Z, 12/31/99 at 5:07 p.m.",
    "digits of many scripts": "\u0661\u0662\u0663 १२३ １２３ ²³½ Ⅷ",
    "very long word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamter",
    "one letter 300 times": "a" * 300,
    "alternating letters": "abababababababababababababababababababab",
    "nonsense letters": "xqzvwkjq zzxqj qqqqqq wvxyzkj",
    "base64": "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2Npbmc=",
    # Scripts.
    "French": "L'été, où êtes-vous allé ? À Noël, œuvre ça.",
    "decomposed accents": "e\u0301 a\u0300 n\u0303 o\u0308 cafe\u0301",
    "German": "Fußgängerüberwege Ärger ẞ",
    "Russian": "Съешь же ещё этих мягких булок",
    "Greek": "Ξεσκεπάζω τὴν ψυχοφθόρα",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。",
    "rare Chinese": "\U00020000\U0002a6d6龘靐齉\U0002f81a",
    "Japanese": "吾輩は猫である。名前はまだ無い。カタカナｶﾅ",
    "Korean": "안녕하세요, 세계! 한글",
    "Arabic": "\u064a\u0648\u0644\u062f \u062c\u0645\u064a\u0639 "
    "\u0627\u0644\u0646\u0627\u0633 \u0623\u062d\u0631\u0627\u0631\u064b\u0627\u060c "
    "\u0645\u062a\u0633\u0627\u0648\u064a\u0646.",
    "Hebrew with points": "\u05d1\u05bc\u05b0\u05e8\u05b5\u05d0\u05e9\u05c1\u05b4\u05d9\u05ea",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระ",
    "scripts without pieces": "\U00010330\U00010331 \U00012000\U00012001 \U0001e900 ꦄ",
    "mixed scripts": "Hello世界мир\u0639\u0627\u0644\u0645 α+β=γ",
    "mathematical letters": "\U0001d539\U0001d504\U0001d6fc ∑∫∂∞ ∀x∈ℝ",
    # Emoji.
    "emoji": "\U0001f600\U0001f680❤\ufe0f \U0001f44d\U0001f3fd ok ☺",
    "emoji joined by ZWJ": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 "
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "flags": "\U0001f1eb\U0001f1f7\U0001f1ef\U0001f1f5\U0001f1fa\U0001f1f3 \U0001f1e6",
    "tag flag and keycap": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f "
    "1\ufe0f\u20e3",
    "new emoji": "\U0001fae8\U0001fac6\U0001fae9",
    # Control and other odd characters.
    "NUL": "a\x00b",
    "control characters": "".join(map(chr, range(1, 0x20))),
    "DEL and C1 controls": "x\x7fy\x80\x9fz",
    "zero-width characters": "a\u200bb\u200cc\u200dd\u2060e\u00adf",
    "byte-order mark": "\ufeffHello",
    "direction marks": "\u202aleft\u202c \u202eright\u202c \u2066x\u2069",
    "replacement and private use": "� \ue000 \uf8ff \U0010fffd",
    "non-characters": "\ufffe \uffff \U0001ffff \U0010ffff",
    "combining marks": "Z\u0351\u0336\u0342\u030a\u0321a\u0315\u0307\u0489l"
    "\u0358\u0338g\u0334\u0327o",
    "ligatures and width forms": "\ufb01\ufb02 ＡＢＣ ™ ① ㎥",
    # Special pieces in the text.
    "chat turns": CHAT,
    "turn markers inside words": "be<start_of_turn>tween<end_of_turn>words",
    "BOS and EOS": "a<bos>b<eos>c <bos> <eos> ",
    "only BOS": "<bos>",
    "pad, unk, mask": "<pad><unk><mask>[multimodal]",
    "unused pieces": "x<unused0>y<unused98><unused99> z <unused6241>",
    "unused piece that does not exist": "<unused6242>",
    "image markers": "<start_of_image><end_of_image> <image_soft_token>",
    "HTML pieces": "<h1>Title</h1>\n<table><tr><td>1</td></tr></table><b>bold</b> <code>x</code>",
    "HTML pieces with spaces": "  <h1>  </h1>  <p> <em> a </em>",
    "strikethrough pieces": "<s>old</s> <sub>i</sub>",
    "nearly special": "<start_of_turn <bos <h1 >< h1> <BOS> <H1> <<bos>> <end_of_turn>>",
    "special after newlines": "\n\n<start_of_turn>\n\n\n<end_of_turn>\n",
    "byte pieces as text": "<0x41> <0x0A><0xFF>",
    "markers of other models": "<|im_start|>user<|im_end|> [INST] x [/INST] <|endoftext|>",
}


def tokenize(program, model, text):
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        command = [program, "-m", model, "-f", file.name, *FLAGS.split()]
        result = subprocess.run(command, check=True, capture_output=True)
    return ast.literal_eval(result.stdout.decode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-tokenize", default="llama-tokenize", help="the program")
    parser.add_argument("--model", required=True, help="a Gemma 3 GGUF")
    parser.add_argument("--gpl3", type=Path, default="/usr/share/common-licenses/GPL-3")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    args = parser.parse_args()

    cases = dict(CASES)
    cases[f"first {GPL3_BYTES} bytes of the GPL-3"] = args.gpl3.read_bytes()[:GPL3_BYTES].decode()
    lines = []
    for name, text in cases.items():
        ids = tokenize(args.llama_tokenize, args.model, text)
        lines.append(json.dumps({"name": name, "text": text, "ids": ids}))
    command = json.dumps(f"llama-tokenize -m gemma3-270m-q4_k_m.gguf -f TEXT {FLAGS}")
    body = ",\n  ".join(lines)
    args.out.write_text(f'{{\n "command": {command},\n "cases": [\n  {body}\n ]\n}}\n')
    print(f"{args.out.name}: {len(cases)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
