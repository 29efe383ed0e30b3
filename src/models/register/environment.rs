//! The files from which MLflow builds a Python environment for a model: what is known, and no more.
//!
//! Known are the packages, the oldest `onnx` that reads the file, and the ONNX Runtime that the model was tried with.
//! No version of Python is stated: an ONNX graph was not saved by one. MLflow then takes the one it runs on.

pub(super) const CONDA: &str = "conda.yaml";
pub(super) const PYTHON_ENV: &str = "python_env.yaml";
pub(super) const REQUIREMENTS: &str = "requirements.txt";

/// Whether a file of a model directory is one of these.
pub(super) fn is_one(path: &str) -> bool {
    [CONDA, PYTHON_ENV, REQUIREMENTS].contains(&path)
}

/// The three files: name and text.
pub(super) fn files(onnx: &str, onnxruntime: &str) -> [(&'static str, String); 3] {
    let packages = [
        "mlflow".to_owned(),
        format!("onnx>={onnx}"),
        at_least("onnxruntime", onnxruntime),
    ];
    let pip: Vec<String> = packages
        .iter()
        .map(|line| format!("  - {line}\n"))
        .collect();
    let conda = format!(
        "channels:\n- conda-forge\ndependencies:\n- python\n- pip\n- pip:\n{}name: mlflow-env\n",
        pip.concat()
    );
    let python_env =
        "build_dependencies:\n- pip\n- setuptools\n- wheel\ndependencies:\n- -r requirements.txt\n";
    [
        (CONDA, conda),
        (PYTHON_ENV, python_env.to_owned()),
        (REQUIREMENTS, packages.join("\n")),
    ]
}

/// A library that does not tell its version makes no requirement.
fn at_least(package: &str, version: &str) -> String {
    if version.starts_with(|c: char| c.is_ascii_digit()) {
        format!("{package}>={version}")
    } else {
        package.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_state_the_same_packages() {
        let [(_, conda), (_, python_env), (_, requirements)] = files("1.14.0", "1.32");
        assert_eq!(requirements, "mlflow\nonnx>=1.14.0\nonnxruntime>=1.32");
        let conda: serde_yaml_ng::Value = serde_yaml_ng::from_str(&conda).unwrap();
        let pip: Vec<&str> = conda["dependencies"][2]["pip"]
            .as_sequence()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap())
            .collect();
        assert_eq!(pip.join("\n"), requirements);
        let python_env: serde_yaml_ng::Value = serde_yaml_ng::from_str(&python_env).unwrap();
        assert_eq!(python_env["dependencies"][0], "-r requirements.txt");
    }

    #[test]
    fn an_unknown_runtime_makes_no_requirement() {
        let [_, _, (_, requirements)] = files("1.14.0", "unknown");
        assert!(requirements.ends_with("\nonnxruntime"));
    }
}
