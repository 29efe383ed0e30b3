//! Certificates for servers that tests start.
//!
//! Not here: anything that is in a build.

use std::path::Path;
use std::process::Command;

/// `<name>.key` and `<name>.crt`: an authority that signs for two days.
pub(crate) fn make_authority(directory: &Path, name: &str) {
    let subject = format!("/CN=terrarium test {name}");
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    openssl(
        directory,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ],
    );
}

/// `<name>.key` and `<name>.crt` for `localhost`, signed by the authority `ca`.
pub(crate) fn make_certificate(directory: &Path, name: &str) {
    let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
    openssl(
        directory,
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &key,
            "-out",
            &request,
        ],
    );
    let extensions = format!("{name}.ext");
    fs_err::write(
        directory.join(&extensions),
        "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    let certificate = format!("{name}.crt");
    openssl(
        directory,
        &[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ],
    );
}

fn openssl(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments).current_dir(directory).output();
    let output = output.expect("openssl is installed (`dev/setup test`)");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
