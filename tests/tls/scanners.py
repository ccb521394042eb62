"""Lets scanners look at the gateway, and holds what they find against what is accepted.

    scanners.py FOLDER modern=PORT compatible=PORT

Runs sslyze, which has to find exactly the suites and the features listed here, and testssl.sh if it
is there, of whose findings none may be worse than INFO but those that are accepted here, each for a
reason.
Exit code 0 and one line for each scanner if that is so, 1 and a line for each difference, 2 for a
wrong call.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import trials
from trials import Trials, expect

SCAN_SECONDS = 400

SUITES = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
# One certificate is of ECDSA, and scanners ask for its name.
SUITES_OF_1_2 = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}
VERSIONS = {
    "modern": {"tls_1_3": SUITES},
    "compatible": {"tls_1_2": SUITES_OF_1_2, "tls_1_3": SUITES},
}

# Findings of testssl.sh that are worse than INFO, by their names, and why each is accepted. One
# that is not found any more is a difference as well.
ACCEPTED = {
    "cert_revocation": "the authority of the trial has no address where to ask",
    "HSTS": "whether all of a host is https is for who runs it to say",
}
# What it finds of its own openssl, as that is and as fast as that is, by the words that it has for
# it ("" for any).
OF_THE_MACHINE = {
    # Whether it knows GOST.
    "engine_problem": "",
    # Its openssl finds the end of its input with the handshake's last flight on its way, and may have
    # left before the ticket is there: there is nothing to resume then. openssl.py resumes sessions.
    "sessionresumption_ticket": "check failed because of connect problem",
}


def sslyze(name: str) -> dict:
    report = f"{FOLDER}/sslyze-{name}.json"
    commands = "sslv2 sslv3 tlsv1 tlsv1_1 tlsv1_2 tlsv1_3 certinfo compression early_data fallback \
        heartbleed openssl_ccs reneg resum robot elliptic_curves ems"
    call = [sys.executable, "-W", "ignore", "-m", "sslyze", "--quiet", "--mozilla_config=disable"]
    call += [f"--json_out={report}", f"--certinfo_ca_file={FOLDER}/ca.pem"]
    call += [*(f"--{command}" for command in commands.split()), f"localhost:{PORTS[name]}"]
    subprocess.run(call, check=True, timeout=SCAN_SECONDS, stdout=subprocess.DEVNULL)
    with open(report) as read:
        [server] = json.load(read)["server_scan_results"]
    if server["scan_status"] != "COMPLETED":
        raise trials.Refused(f"sslyze could not scan: {server}")
    return server["scan_result"]


def result(scan: dict, command: str):
    if scan[command]["status"] != "COMPLETED":
        raise trials.Refused(f"{command}: {scan[command].get('error_trace')}")
    return scan[command]["result"]


def suites(scan: dict, name: str) -> None:
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3"):
        accepted = result(scan, f"{version}_cipher_suites")["accepted_cipher_suites"]
        found = {suite["cipher_suite"]["name"] for suite in accepted}
        expect(version, found, VERSIONS[name].get(version, set()))


def features(scan: dict, name: str) -> None:
    expect("compression", result(scan, "tls_compression")["supports_compression"], False)
    expect("early data", result(scan, "tls_1_3_early_data")["supports_early_data"], False)
    expect("heartbleed", result(scan, "heartbleed")["is_vulnerable_to_heartbleed"], False)
    ccs = result(scan, "openssl_ccs_injection")["is_vulnerable_to_ccs_injection"]
    expect("OpenSSL's ChangeCipherSpec", ccs, False)
    robot = result(scan, "robot")["robot_result"]
    expect("ROBOT", robot, "NOT_VULNERABLE_RSA_NOT_SUPPORTED")
    renegotiation = result(scan, "session_renegotiation")
    expect("renegotiation", renegotiation["is_vulnerable_to_client_renegotiation_dos"], False)
    if name == "compatible":
        expect("RFC 5746", renegotiation["supports_secure_renegotiation"], True)
        expect(
            "RFC 7627", result(scan, "tls_extended_master_secret")["supports_ems_extension"], True
        )
    curves = {curve["name"] for curve in result(scan, "elliptic_curves")["supported_curves"]}
    expect("curves", curves, {"X25519", "secp256r1"})


def certificate(scan: dict) -> None:
    [deployment] = result(scan, "certificate_info")["certificate_deployments"]
    trusted = [
        path for path in deployment["path_validation_results"] if path["was_validation_successful"]
    ]
    expect("stores that trust it", len(trusted), 1)
    expect("the order of the chain", deployment["received_chain_has_valid_order"], True)
    expect("the root is left out", deployment["received_chain_contains_anchor_certificate"], False)


def run_sslyze() -> int:
    all_trials = Trials(f"sslyze {SSLYZE}")
    for name in VERSIONS:
        try:
            scan = sslyze(name)
        except Exception as error:
            all_trials.check(f"{name}: the scan", fail, error)
            continue
        all_trials.check(f"{name}: suites", suites, scan, name)
        all_trials.check(f"{name}: features", features, scan, name)
        all_trials.check(f"{name}: certificate", certificate, scan)
    return told(all_trials)


def fail(error: Exception) -> None:
    raise error


def testssl(program: str, name: str) -> list[dict]:
    report = pathlib.Path(FOLDER, f"testssl-{name}.json")
    # It writes over none that is there.
    report.unlink(missing_ok=True)
    call = f"{program} --quiet --color 0 --warnings batch --ip 127.0.0.1 --nodns none".split()
    call += ["--add-ca", f"{FOLDER}/ca.pem", "--jsonfile", report, f"localhost:{PORTS[name]}"]
    with open(f"{FOLDER}/testssl-{name}.log", "w") as log:
        subprocess.run(call, timeout=SCAN_SECONDS, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return json.loads(report.read_text())


def of_the_machine(finding: dict) -> bool:
    words = OF_THE_MACHINE.get(finding["id"])
    return words is not None and words in finding["finding"]


def accepted(finding: dict) -> None:
    if finding["id"] not in ACCEPTED:
        raise trials.Refused(f"{finding['severity']}: {finding['finding']}")


def run_testssl() -> int:
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if program is None:
        print(
            "left out: testssl.sh is not there (Debian: apt-get install testssl.sh)",
            file=sys.stderr,
        )
        return 0
    all_trials = Trials("testssl.sh")
    for name in VERSIONS:
        try:
            findings = testssl(program, name)
        except Exception as error:
            all_trials.check(f"{name}: the scan", fail, error)
            continue
        all_trials.check(
            f"{name}: it has looked", expect, "more than 50 findings", len(findings) > 50, True
        )
        worse = [finding for finding in findings if finding["severity"] not in ("OK", "INFO")]
        worse = [finding for finding in worse if not of_the_machine(finding)]
        for finding in worse:
            all_trials.check(f"{name}: {finding['id']}", accepted, finding)
        found = {finding["id"] for finding in worse}
        all_trials.check(
            f"{name}: what is accepted", expect, "not found", set(ACCEPTED) - found, set()
        )
    return told(all_trials)


def told(all_trials: Trials) -> int:
    try:
        all_trials.end()
    except SystemExit as end:
        return end.code


FOLDER, PORTS = trials.called(__doc__)
SSLYZE = subprocess.run(
    [sys.executable, "-m", "pip", "show", "sslyze"], capture_output=True, text=True
)
SSLYZE = dict(line.split(": ", 1) for line in SSLYZE.stdout.splitlines() if ": " in line).get(
    "Version", ""
)
sys.exit(max(run_sslyze(), run_testssl()))
