"""Draws the README's pictures of the terminal from real runs.

    pip install pyte pillow
    python docs/terminal.py PROGRAMS SCAN DISK             (Linux)
    python docs/terminal.py --windows PROGRAMS SCAN DISK   (the Windows programs under Wine; SCAN and DISK as Windows names)

PROGRAMS is the folder with tomo, SCAN a folder of some hundred MB, DISK an empty folder on a mounted disk.
"""

import argparse
import os
import pathlib
import pty
import select
import signal
import struct
import fcntl
import termios
import time

import pyte
from PIL import Image, ImageDraw, ImageFont

COLS, ROWS = 132, 26
FONTS = ("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf", "C:/Windows/Fonts/consola.ttf")
COLOURS = {"default": "#d0d0d0", "green": "#5fd75f", "cyan": "#5fd7ff", "red": "#ff5f5f", "brown": "#ffd75f",
           "blue": "#5f87ff", "magenta": "#d787ff", "white": "#ffffff", "black": "#606060"}


class Terminal:
    """Runs one below the other; each has a screen of its own, for Windows' programs begin at its top."""

    def __init__(self, prompt):
        self.prompt = prompt
        self.screens = []

    def run(self, shown, command, until=None, then=None):
        """Types `shown` and runs `command`; after `until` seconds `then` is called, and the rest waited for."""
        typed, screen = pyte.Screen(COLS, 3), pyte.Screen(COLS, ROWS)
        pyte.Stream(typed).feed(f"{self.prompt}{shown}")
        self.screens += [typed, screen]
        stream = pyte.ByteStream(screen)
        pid, fd = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm-256color"
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLS, 0, 0))
            os.execvp(command[0], command)
        began = time.monotonic()
        while True:
            try:
                if select.select([fd], [], [], 0.05)[0]:
                    stream.feed(os.read(fd, 65536))
            except OSError:
                break
            if until and time.monotonic() - began > until:
                then()
                until = None
        os.waitpid(pid, 0)

    def save(self, path):
        lines = []
        for screen in self.screens:
            used = [y for y in range(screen.lines) if screen.display[y].strip()]
            lines += [screen.buffer[y] for y in range(used[0], used[-1] + 1)] if used else []
        font = ImageFont.truetype(next(f for f in FONTS if os.path.exists(f)), 14)
        w, h = round(font.getlength("M")), 18
        picture = Image.new("RGB", (COLS * w + 24, len(lines) * h + 24), "#1c1c1c")
        draw = ImageDraw.Draw(picture)
        for y, line in enumerate(lines):
            for x in range(COLS):
                c = line[x]
                if c.data.strip():
                    draw.text((12 + x * w, 12 + y * h), c.data, COLOURS.get(c.fg, COLOURS["default"]), font)
        picture.quantize(32).save(path, optimize=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--windows", action="store_true")
    p.add_argument("programs")
    p.add_argument("scan")
    p.add_argument("disk")
    p.add_argument("--at", type=float, default=3.0, help="seconds into the copy at which a picture is taken")
    p.add_argument("--damage", help="then change a byte of this file of the copy, and check the disk")
    o = p.parse_args()
    out = pathlib.Path(__file__).parent
    if o.windows:
        tomo, prompt = ["wine64", f"{o.programs}/tomo.exe"], "D:\\data>"
    else:
        tomo, prompt = [f"{o.programs}/tomo"], "user@beamline:~$ "
    name = "windows" if o.windows else "linux"
    t = Terminal(prompt)
    t.run(f"tomo copy {o.scan} {o.disk} --dry-run", [*tomo, "copy", o.scan, o.disk, "--dry-run"])
    t.run(f"tomo copy {o.scan} {o.disk}", [*tomo, "copy", o.scan, o.disk], o.at, lambda: t.save(out / f"copy-{name}-going.png"))
    if o.damage:
        with open(o.damage, "r+b") as f:
            f.seek(10_000_000)
            f.write(b"?")
        t = Terminal(prompt)
        t.run(f"tomo copy --verify {o.disk}", [*tomo, "copy", "--verify", o.disk])
        t.save(out / f"copy-{name}-verify.png")


signal.signal(signal.SIGCHLD, signal.SIG_DFL)
main()
