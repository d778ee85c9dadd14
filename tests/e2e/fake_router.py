"""Speak like the command line of a network device, on the terminal it is started on: `fake_router.py cisco|juniper`.

It edits and echoes its line itself, pages at 24 lines, has modes, refuses what it does not know, and is slow at pings.
"""

from __future__ import annotations

import os
import sys
import termios
import time
import tty

LONG = [f"line {n} of the long text" for n in range(1, 61)]


class Device:
    def __init__(self, more: str) -> None:
        self.more = more
        self.length = 24

    def write(self, text: str) -> None:
        os.write(1, text.replace("\n", "\r\n").encode())

    def key(self) -> str:
        data = os.read(0, 1)
        if not data:
            raise SystemExit
        return data.decode("latin-1")

    def read_line(self, prompt: str, *, echo: bool = True) -> str:
        self.write(prompt)
        line = ""
        while (key := self.key()) not in "\r\n":
            if key == "\x03":
                self.write("^C\n" + prompt)
                line = ""
            elif key in "\x7f\b":
                line = line[:-1]
                self.write("\b \b")
            else:
                line += key
                self.write(key if echo else "")
        self.write("\n")
        return line.strip()

    def page(self, lines: list[str]) -> None:
        for count, line in enumerate(lines, 1):
            self.write(line + "\n")
            if self.length and count % (self.length - 1) == 0 and count < len(lines):
                self.write(self.more)
                key = self.key()
                self.write("\b" * len(self.more) + " " * len(self.more) + "\b" * len(self.more))
                if key == "q":
                    return


class Cisco(Device):
    def __init__(self) -> None:
        super().__init__(" --More-- ")
        self.name, self.mode = "Router", ">"

    def run(self) -> None:
        self.write("\nUser Access Verification\n\n")
        while True:
            words = self.read_line(f"{self.name}{self.mode}").split()
            if words and not self.obey(words):
                return

    def obey(self, words: list[str]) -> bool:
        line = " ".join(words)
        if line == "exit" and self.mode in (">", "#"):
            return False
        if line == "enable":
            word = self.read_line("Password: ", echo=False)
            self.mode = "#" if word == "secret" else ">"
        elif line == "configure terminal" and self.mode == "#":
            self.write("Enter configuration commands, one per line.  End with CNTL/Z.\n")
            self.mode = "(config)#"
        elif words[0] == "interface" and "config" in self.mode:
            self.mode = "(config-if)#"
        elif words[0] == "hostname" and "config" in self.mode:
            self.name = words[1]
        elif line in ("end", "exit"):
            self.mode = "#"
        elif line == "terminal length 0":
            self.length = 0
        elif line == "show version":
            self.write("Cisco IOS Software, C2900 Software, Version 15.0(1)M1\n\nRouter uptime is 1 day\n")
        elif line == "show long":
            self.page(LONG)
        elif words[0] == "ping":
            self.write("Type escape sequence to abort.\n")
            for _ in range(5):
                time.sleep(0.15)
                self.write("!")
            self.write("\nSuccess rate is 100 percent (5/5)\n")
        elif line == "reload":
            self.read_line("Proceed with reload? [confirm]")
        elif "config" not in self.mode:
            self.write(f"{' ' * len(self.name)} ^\n% Invalid input detected at '^' marker.\n\n")
        return True


class Juniper(Device):
    def __init__(self) -> None:
        super().__init__("---(more)---")
        self.configuring = False

    def run(self) -> None:
        self.write("--- JUNOS 20.4R3 built 2021\n")
        while True:
            line = self.read_line(f"admin@edge1{'#' if self.configuring else '>'} ")
            if line == "exit" and not self.configuring:
                return
            self.obey(line)

    def obey(self, line: str) -> None:
        if line == "configure":
            self.configuring = True
            self.write("Entering configuration mode\n\n[edit]\n")
        elif line == "exit":
            self.configuring = False
            self.write("Exiting configuration mode\n\n")
        elif line == "show long":
            self.page(LONG)
        elif line == "show version":
            self.write("Hostname: edge1\nModel: mx240\n\n")
        elif line.startswith("set ") and self.configuring:
            self.write("\n[edit]\n")
        elif line == "commit" and self.configuring:
            time.sleep(0.4)
            self.write("commit complete\n\n[edit]\n")
        elif line:
            self.write("             ^\nunknown command.\n\n" + ("[edit]\n" if self.configuring else ""))


def main() -> None:
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        (Cisco if sys.argv[1] == "cisco" else Juniper)().run()
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


if __name__ == "__main__":
    main()
