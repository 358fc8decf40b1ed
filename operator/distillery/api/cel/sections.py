"""CEL rules that need one section, by model: of addresses, workers, task, dataset, teacher, filter, student. Pure."""

from __future__ import annotations

from distillery.api.cel.rule import FORBIDDEN, HARD_ONLY, REQUIRED, Cel, either, one_of, unset


def _address(field: str) -> list[Cel]:
    """Return the rules of a server's address."""
    guard = f"!has(self.{field}) || " if field != "url" else ""
    check = "addresses_hold_more"
    return [
        Cel(
            rf"{guard}!self.{field}.matches(r'^https?://[^/?#]*@')",
            "holds a user name or password",
            "put secrets into a Secret and name it here",
            f".{field}",
            FORBIDDEN,
            check,
        ),
        Cel(
            rf"{guard}!self.{field}.matches(r'[?#][^?#]')",
            "has a part after '?' or '#', which would be lost",
            "remove it",
            f".{field}",
            FORBIDDEN,
            check,
        ),
    ]


def _files() -> list[Cel]:
    """Return the rules of an address of files: what is for S3 only."""
    return [
        Cel(
            f"self.uri.startsWith('s3://') || !has(self.{field})",
            "is for s3:// only, but the uri is a file's",
            "remove it",
            f".{field}",
            FORBIDDEN,
            "files_have_a_server",
        )
        for field in ("endpoint", "credentialsSecret")
    ]


_TEXT, _COLUMN = r"[^{}]|\{\{|\}\}", r"\{[^{}]*[^{}\s][^{}]*\}"

PLACES: dict[str, list[Cel]] = {
    "Storage": [
        *_files(),
        *_address("endpoint"),
        Cel(
            r"!self.uri.matches(r'[*?\[]')",
            "has wildcards, but one folder is wanted",
            "name the folder",
            ".uri",
            check="folders_have_wildcards",
        ),
    ],
    "Source": [
        *_files(),
        *_address("endpoint"),
        Cel(
            r"!self.uri.matches(r'/$|^s3://[^/]*$')",
            "is a folder",
            "name files, for example s3://bucket/folder/*.jsonl",
            ".uri",
            check="sources_name_no_jsonl",
        ),
        Cel(
            r"!self.uri.matches(r'(?i)[^/]\.(csv|tsv|parquet|arrow|xlsx|gz|zst|bz2|zip)$')",
            "files of this type are not read",
            "convert them to JSONL, uncompressed",
            ".uri",
            check="sources_name_no_jsonl",
        ),
    ],
    "Workers.resources": [
        Cel(
            "self.all(name, name.contains('/') || name.startsWith('hugepages-')"
            " || name in ['cpu', 'memory', 'ephemeral-storage'])",
            "names what is no resource of a container",
            "write cpu, memory, ephemeral-storage, or a device with its domain such as nvidia.com/gpu",
            check="resources_do_not_exist",
        ),
        Cel(
            "self.all(name, !name.contains('/') || type(self[name]) == int"
            " || string(self[name]).matches('^[0-9]+$'))",
            "asks for a part of a device",
            "write a whole number, for example nvidia.com/gpu: 1",
            check="devices_are_divided",
        ),
    ],
    "Workers.limits": [
        Cel(
            "self.all(name, name in ['cpu', 'memory'])",
            "limits what has no limit of its own",
            "write cpu or memory, everything else under resources alone",
            check="limits_name_others",
        )
    ],
}

TASK: dict[str, list[Cel]] = {
    "Output": [
        Cel(
            "self.format != 'label' || has(self.labels)",
            "is required by format label",
            "list the answers: [billing, login]",
            ".labels",
            REQUIRED,
            "labels_are_missing",
        ),
        Cel(
            "self.format == 'label' || !has(self.labels)",
            "labels are listed, but the format is another",
            "write format: label",
            ".labels",
            FORBIDDEN,
            "labels_have_no_use",
        ),
        Cel(
            "self.format == 'json' || !has(self.schema)",
            "a schema is given, but the format is another",
            "write format: json",
            ".schema",
            FORBIDDEN,
            "schema_has_no_use",
        ),
    ],
    "Output.labels[]": [
        Cel(
            r"!self.matches(r'^\s|\s$|[\r\n]')",
            "has blanks around it or spans lines",
            "write it in one line without them",
            check="labels_are_untidy",
        )
    ],
}

DATASET: dict[str, list[Cel]] = {
    "Dataset": [
        Cel(
            "has(self.input) || self.sources.all(s, has(s.format) && s.format != 'plain')",
            "is required by sources of format plain",
            'name the columns to show: "{text}"',
            ".input",
            REQUIRED,
            "input_is_missing",
        ),
        Cel(
            f"!has(self.input) || self.input.matches(r'^({_TEXT})*{_COLUMN}({_TEXT}|{_COLUMN})*$')",
            "names no column, or has a lone brace",
            'write the columns to insert: "{text}", and {{ or }} for a brace itself',
            ".input",
            check="input_is_malformed",
        ),
        Cel(
            "!has(self.input) || !has(self.reference) || !self.input.replace('{{', '').replace('}}', '')"
            ".contains('{' + self.reference + '}')",
            "shows the column that dataset.reference calls the known answer",
            "take the answer out of the question",
            ".input",
            check="input_shows_the_reference",
        ),
        Cel(
            "!has(self.id) || !has(self.reference) || self.id != self.reference",
            "is both the row's name and its known answer",
            "name the column with the answer",
            ".reference",
            check="columns_contradict",
        ),
        Cel(
            "!has(self.groupBy) || !has(self.reference) || self.groupBy != self.reference",
            "is the known answer: each answer would be in one split only",
            "name a column such as a conversation's id",
            ".groupBy",
            check="columns_contradict",
        ),
        Cel(
            "!has(self.id) || !has(self.slices)"
            " || self.slices.all(s, !has(s.byColumn) || s.byColumn != self.id)",
            "a slice is by the column that names rows, so every row would be a slice",
            "name a column with few values",
            ".slices",
            check="columns_contradict",
        ),
        Cel(
            "!has(self.oversample) || self.oversample.slices.all(name, has(self.slices)"
            " && self.slices.exists(s, s.name == name && has(s.byColumn)))",
            "names a slice that is not there, or not by column",
            "name slices that have byColumn",
            ".oversample.slices",
            check="oversampled_slices_are_unknown",
        ),
    ],
    "Dataset.sources": [
        Cel(
            "self.all(s, self.exists_one(t, t.uri == s.uri"
            " && (has(t.endpoint) ? t.endpoint : '') == (has(s.endpoint) ? s.endpoint : '')))",
            "the same files are read twice",
            "remove one of them",
            check="sources_repeat",
        )
    ],
    "Dataset.slices": [
        Cel(
            "self.all(s, !s.name.contains('=') || !self.exists(t, has(t.byColumn)"
            " && !t.name.contains('=') && s.name.startsWith(t.name + '=')))",
            "a name is how another slice calls one of its values",
            "rename it",
            check="slices_share_a_name",
        )
    ],
    "Slice": [
        Cel(
            "has(self.where) != has(self.byColumn)",
            "has neither or both of where and byColumn",
            "write exactly one of them",
            check="slices_are_not_one_of",
        )
    ],
    "Split": [
        Cel(
            f"{either('validation', '0.05')} + {either('test', '0.1')} < 1.0",
            "validation and test leave nothing to train on",
            "their sum must be below 1",
            check="splits_leave_no_training_rows",
        )
    ],
}

TEACHER: dict[str, list[Cel]] = {
    "Endpoint": [
        *_address("url"),
        Cel(
            r"!self.url.matches(r'^[^?]*/(chat/completions|completions|responses|embeddings|models)/*([?].*)?$')",
            "ends with a method of the API, which is added to it",
            "end it with the version, as in …/v1",
            ".url",
            check="endpoint_is_no_base_url",
        ),
    ],
    "SecretKey": [
        Cel(
            r"!self.key.matches(r'\b(sk-|gsk_|hf_|xai-|AIza|AKIA|eyJ)[A-Za-z0-9_.-]{12,}')",
            "looks like an API key itself, which must never stand in a manifest",
            "revoke it, and write the name of the Secret's key, for example api-key",
            ".key",
            FORBIDDEN,
            "secret_key_is_a_value",
        )
    ],
    "Samples": [
        Cel(
            "!has(self.temperature) || self.temperature > 0.0",
            "at temperature 0 every extra sample is the same answer, paid again",
            "write 0.7, or remove teacher.samples",
            ".temperature",
            check="samples_are_all_alike",
        )
    ],
}

_KINDS = ("format", "length", "refusal", "consistency")
FILTER: dict[str, list[Cel]] = {
    "Filter.rules": [
        Cel(
            f"self.filter(r, has(r.{kind})).size() <= 1",
            f"the rule {kind} is declared twice",
            "merge them",
            check="rules_repeat",
        )
        for kind in _KINDS
    ],
    "Rule": [one_of(_KINDS, "declares no rule, or several", "rules_are_not_one_of")],
    "Discard": [
        Cel(
            "!has(self.expected) || self.expected[0] <= self.expected[1]",
            "is upside down",
            "write the smaller share first",
            ".expected",
            check="discard_bounds_are_disordered",
        ),
        Cel(
            f"(has(self.expected) ? self.expected[1] : 0.2) <= {either('max', '0.5')}",
            "ends above discard.max, which stops the job",
            "lower it, or raise discard.max",
            ".expected",
            check="discard_bounds_are_disordered",
        ),
    ],
}

STUDENT: dict[str, list[Cel]] = {
    "Base": [
        one_of(
            ("hub", "uri", "architecture"),
            "starts from nothing, or from several things",
            "base_is_not_one_of",
        ),
        Cel(
            r"!has(self.uri) || !self.uri.matches(r'[*?\[]')",
            "has wildcards, but one folder is wanted",
            "name the folder",
            ".uri",
            check="folders_have_wildcards",
        ),
        Cel(
            "!has(self.revision) || has(self.hub)",
            "is for base.hub only",
            "remove it",
            ".revision",
            FORBIDDEN,
            "base_options_have_no_use",
        ),
        Cel(
            "!has(self.tokenizer) || has(self.architecture)",
            "is for base.architecture only: other models bring their own",
            "remove it",
            ".tokenizer",
            FORBIDDEN,
            "base_options_have_no_use",
        ),
    ],
    "Loss": [
        Cel(
            f"{either('hard', '1.0')} + {either('soft', '0.0')} > 0.0",
            "hard and soft are both 0",
            HARD_ONLY,
            check="loss_has_no_weight",
        )
    ],
    "Student": [
        Cel(
            f"{either('epochs', '3.0')} * double({either('evaluationsPerEpoch', '4')}) >= 1.0",
            "is none in so few epochs",
            "raise it, or epochs",
            ".evaluationsPerEpoch",
            check="student_is_never_evaluated",
        ),
        Cel(
            f"{unset('workers.replicas')} || self.workers.replicas <= {either('batchSize', '32')}",
            "more workers than there are rows in student.batchSize cannot share them",
            "write fewer, or raise batchSize",
            ".workers.replicas",
            check="workers_outnumber_rows",
        ),
    ],
}
