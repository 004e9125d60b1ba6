"""What a contender in Python measures of itself: the same as cell.mjs, printed as the same line of JSON."""

import gc
import json
import re
import time


def memory():
    with open("/proc/self/status") as file:
        status = file.read()
    kib = lambda name: int((re.search(rf"^{name}:\s+(\d+)", status, re.M) or [0, 0])[1])
    return {"anonKiB": kib("RssAnon"), "fileKiB": kib("RssFile") + kib("RssShmem"), "residentKiB": kib("VmHWM")}


def counters():
    with open("/proc/self/stat") as file:
        minor, child_minor, major, child_major = map(int, file.read().split(") ")[-1].split(" ")[7:11])
    with open("/proc/self/io") as file:
        disk = int(re.search(r"^read_bytes: (\d+)", file.read(), re.M)[1])
    return {"minorFaults": minor + child_minor, "majorFaults": major + child_major, "diskBytes": disk}


def split(result):
    return {"bytes": result.pop("bytes", None), "items": result.pop("items", None), "proof": result}


def timed(work):
    """Times `work`, which returns `bytes` or `items`, and its proof of having done the work, as one dict."""
    gc.collect()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    start_anon = memory()["anonKiB"]
    before = counters()
    start = time.perf_counter()
    result = work()
    ms = (time.perf_counter() - start) * 1000
    after = counters()
    cell = {"ms": ms, **split(result), "startAnonKiB": start_anon, **memory()}
    print(json.dumps({**cell, **{name: after[name] - before[name] for name in after}}))


def repeated(work, seconds=0.4):
    """The median of many calls of `work`, after one to warm up."""
    result = work()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    print(json.dumps({"ms": sorted(times)[len(times) // 2], **split(result), "calls": len(times), **memory()}))
