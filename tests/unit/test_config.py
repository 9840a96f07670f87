"""Settings: read once, typed, and refused in words when they cannot be meant."""

import ipaddress
from pathlib import Path

import pytest

from mespieces import config


def read(**settings):
    return config.read({f"MESPIECES_{name}": value for name, value in settings.items()})


def test_everything_defaults_to_inside_the_data_folder(tmp_path):
    settings = read(DATA=str(tmp_path))

    assert settings.database_url == f"sqlite:///{tmp_path}/mespieces.db"
    assert settings.storage_url == f"file://{tmp_path}/storage"
    assert settings.master_key_file == tmp_path / "keys" / "master.key"
    assert len({settings.master_key_file, settings.secret_key_file, settings.journal_key_file}) == 3
    assert (settings.act_alone, settings.trusted_proxies) == ("office", 0)
    assert settings.max_document_bytes == 50 * 2**20
    assert ipaddress.ip_address("198.51.100.7") in settings.office_networks[0]


def test_without_any_setting_data_stands_beside_the_program():
    assert config.read({"HOME": "/root"}).data == Path("data").resolve()


def test_a_setting_left_blank_is_a_setting_left_out(tmp_path):
    assert read(DATA=str(tmp_path), ACT_ALONE=" ", MAX_DOCUMENT_BYTES="") == read(DATA=str(tmp_path))


def test_the_public_address_gives_the_host_and_the_scheme():
    settings = read(PUBLIC_URL="https://pieces.example.fr/")

    assert (settings.public_url, settings.host, settings.https) == (
        "https://pieces.example.fr", "pieces.example.fr", True,
    )  # fmt: skip
    assert settings.mail_from == "ne-pas-repondre@pieces.example.fr"
    assert not read().https


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "pieces.example.fr"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "https://example.fr/pieces"),
        ("PUBLIC_URL", "ftp://example.fr"),
        ("PUBLIC_URL", "https://x:abc"),
        ("PUBLIC_URL", "http://x#f"),
        ("PUBLIC_URL", "http://x?"),
        ("PUBLIC_URL", "http://u:p@x"),
        ("PUBLIC_URL", "http://[::1"),
        ("DATABASE_URL", "redis://x"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "mespieces.db"),
        ("STORAGE_URL", "s3://bucket"),
        ("STORAGE_URL", "file://storage"),
        ("QUEUE_URL", "redis://x"),
        ("QUEUE_URL", "memory:"),
        ("QUEUE_URL", "sqlite:queue.db"),
        ("MAIL_URL", "pigeon://x"),
        ("MAIL_URL", "smtp://"),
        ("MAIL_URL", "smtp://x:abc"),
        ("MAIL_FROM", "zzz"),
        ("MAIL_FROM", "a@b@c"),
        ("MAIL_FROM", "a@b.fr, c@d.fr"),
        ("ACT_ALONE", "yes"),
        ("FIRST_CONSULTATION_MAIL", "true"),
        ("FIRST_CONSULTATION_MAIL", "Yes"),
        ("OFFICE_NETWORKS", "10.0.0.0/33"),
        ("OFFICE_NETWORKS", ","),
        ("TRUSTED_PROXIES", "-1"),
        ("TRUSTED_PROXIES", "11"),
        ("TRUSTED_PROXIES", "²"),
        ("MAX_DOCUMENT_BYTES", "0"),
        ("MAX_DOCUMENT_BYTES", "50 Mo"),
        ("MAX_DOCUMENTS", "5"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(name, value):
    with pytest.raises(config.SettingWrong, match=f"MESPIECES_{name} "):
        read(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "http://[::1]:8080"),
        ("DATABASE_URL", "postgres://mespieces@/mespieces?host=/run/postgresql"),
        ("DATABASE_URL", "postgresql://u:p%40ss@db.example.fr:5433/mespieces"),
        ("STORAGE_URL", "memory:"),
        ("QUEUE_URL", "postgresql://mespieces@/mespieces"),
        ("MAIL_URL", "smtp://u:p%40ss%2F@mail.example.fr:587?starttls=required&ca=/etc/ca.pem"),
        ("MAIL_URL", "memory:"),
        ("MAIL_FROM", "root@localhost"),
    ],
)
def test_what_a_setting_may_be_is_taken_as_it_is(name, value):
    assert getattr(read(**{name: value}), name.lower()) == value


def test_an_address_that_is_refused_does_not_show_its_password():
    for name in ("DATABASE_URL", "QUEUE_URL", "MAIL_URL", "STORAGE_URL", "PUBLIC_URL"):
        with pytest.raises(config.SettingWrong) as refused:
            read(**{name: "redis://u:hunter2@x:abc"})
        assert "hunter2" not in str(refused.value)


def test_networks_are_separated_by_spaces_or_commas():
    assert [str(network) for network in read(OFFICE_NETWORKS="10.0.0.0/8, 2001:db8::/32").office_networks] == [
        "10.0.0.0/8", "2001:db8::/32",
    ]  # fmt: skip


def test_the_first_consultation_is_announced_unless_the_operator_says_no():
    assert read().first_consultation_mail is True
    assert read(FIRST_CONSULTATION_MAIL="yes").first_consultation_mail is True
    assert read(FIRST_CONSULTATION_MAIL="no").first_consultation_mail is False


def test_settings_never_change():
    with pytest.raises(AttributeError):
        read().act_alone = "anyone"
