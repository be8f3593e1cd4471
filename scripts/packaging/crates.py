#!/usr/bin/env python3
"""What the program contains of others: as a CycloneDX SBOM, and as notices with all licences.

    scripts/packaging/crates.py sbom VERSION TARGET >ramblk.cdx.json
    scripts/packaging/crates.py notices VERSION TARGET >THIRD-PARTY

Only crates that are linked count: no tests, no build scripts, no procedural macros. It needs cargo and the
sources that a build has fetched, and no network. The same tree gives the same bytes.
"""

import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid
from datetime import datetime, timezone

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Names of files that hold a licence, a copyright or a notice.
LEGAL = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


def cargo(*words):
    command = ["cargo", *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(target):
    """Names and versions of the crates that are linked, without ramblk itself."""
    lines = cargo("tree", "--offline", "--locked", "--package", "ramblk", "--edges", "normal,no-proc-macro",
                  "--target", target, "--prefix", "none", "--format", "{p}").splitlines()
    found = {tuple(line.split()[:2]) for line in lines if line}
    return sorted((name, version.removeprefix("v")) for name, version in found if name != "ramblk")


def packages(target):
    """Of each linked crate, what cargo knows of it."""
    known = json.loads(cargo("metadata", "--offline", "--locked", "--format-version", "1",
                             "--filter-platform", target))
    by_name = {(it["name"], it["version"]): it for it in known["packages"]}
    nodes = {it["id"]: it for it in known["resolve"]["nodes"]}
    return [(by_name[key], nodes[by_name[key]["id"]]) for key in linked(target)], by_name, nodes


def c_library():
    said = subprocess.run(["ldd", "--version"], stdout=subprocess.PIPE, text=True).stdout
    return said.split("\n", 1)[0].rsplit(" ", 1)[-1] or "unknown"


def rust():
    said = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return said.split()[1]


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(it["name"], it["version"]): it.get("checksum") for it in lock["package"]}


def expression(package):
    """Older crates write `/` for `OR`."""
    return (package["license"] or "").replace("/", " OR ").replace("  ", " ")


def purl(name, version):
    return f"pkg:cargo/{name}@{version}"


def sbom(version, target):
    found, by_name, nodes = packages(target)
    sums = checksums()
    names = {it["id"]: key for key, it in by_name.items()}
    kept = {key for key in ((it["name"], it["version"]) for it, _ in found)}
    components, dependencies = [], []
    own = next(it for key, it in by_name.items() if key[0] == "ramblk")

    def needs(node):
        ids = [it["pkg"] for it in node["deps"] if any(kind["kind"] is None for kind in it["dep_kinds"])]
        return sorted(purl(*names[it]) for it in ids if names[it] in kept)

    root = purl("ramblk", version)
    system = [("glibc", c_library(), "LGPL-2.1-or-later"), ("rust-std", rust(), "MIT OR Apache-2.0")]
    others = [f"pkg:generic/{name}@{of}" for name, of, _ in system]
    dependencies.append({"ref": root, "dependsOn": sorted(needs(nodes[own["id"]]) + others)})
    for package, node in found:
        key = (package["name"], package["version"])
        component = {
            "type": "library", "bom-ref": purl(*key), "name": key[0], "version": key[1], "purl": purl(*key),
            "licenses": [{"expression": expression(package)}],
        }
        if sums.get(key):
            component["hashes"] = [{"alg": "SHA-256", "content": sums[key]}]
        if package.get("repository"):
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        components.append(component)
        dependencies.append({"ref": purl(*key), "dependsOn": needs(node)})
    for (name, of, licence), ref in zip(system, others):
        components.append({"type": "library", "bom-ref": ref, "name": name, "version": of, "purl": ref,
                           "licenses": [{"expression": licence}]})
    when = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), timezone.utc)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, root + json.dumps(components, sort_keys=True))
    bom = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{serial}", "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "application", "bom-ref": root, "name": "ramblk", "version": version,
                          "purl": root, "licenses": [{"expression": own["license"]}]},
            "properties": [{"name": "target", "value": target}],
        },
        "components": components, "dependencies": dependencies,
    }
    json.dump(bom, sys.stdout, indent=1)
    print()


def legal_files(package):
    """A crate's files with licences, also those of code in C that it brings along."""
    folder = pathlib.Path(package["manifest_path"]).parent
    found = set()
    for path in folder.rglob("*"):
        is_legal = path.name.upper().startswith(LEGAL) and path.suffix not in (".rs", ".py", ".c", ".h")
        if is_legal and path.is_file() and len(path.relative_to(folder).parts) <= 3:
            found.add(path)
    return sorted(found)


def notices(version, target):
    found, _, _ = packages(target)
    print(f"ramblk {version} is linked statically. This file names what it contains of others.\n")
    print(f"The GNU C library {c_library()}: LGPL-2.1-or-later, https://www.gnu.org/software/libc/. ramblk's "
          "own source is free,\nand `scripts/package` links it again with a C library of yours.\n")
    print(f"The Rust standard library {rust()}: MIT OR Apache-2.0, https://www.rust-lang.org/.\n")
    # Many crates have the same text: each is printed once.
    texts, missing = {}, []
    for package, _ in found:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {expression(package)}, {package.get('repository') or ''}")
        files = legal_files(package)
        if not files:
            missing.append(name)
        for path in files:
            text = path.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(name)
    if missing:
        print(f"\nWithout a text of their own, under the licences named above: {', '.join(missing)}.")
    for text, names in texts.items():
        print(f"\n{'=' * 80}\nOf {', '.join(dict.fromkeys(names))}:\n\n{text}")


if __name__ == "__main__":
    {"sbom": sbom, "notices": notices}[sys.argv[1]](*sys.argv[2:4])
