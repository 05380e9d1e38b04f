"""What a module saved of its arguments is kept as texts, and nothing that would differ by itself."""

from plaster_ops.training.hyperparameters import saved_arguments


class Kept:
    """Stands for a LightningModule or LightningDataModule after `save_hyperparameters`."""

    def __init__(self, **saved: object) -> None:
        self.hparams_initial = saved


def test_arguments_of_module_and_data_are_told_apart() -> None:
    kept = saved_arguments(Kept(lr=0.001, widths=[8, 4], head={"drop": None}), Kept(batch_size=64))
    assert kept == {
        "module.lr": "0.001",
        "module.widths": "[8, 4]",
        "module.head.drop": "None",
        "data.batch_size": "64",
    }


def test_objects_secrets_and_long_texts_are_left_out() -> None:
    assert saved_arguments(Kept(loss=object(), api_key="abc", db_password="x", words="w" * 101), Kept()) == {}


def test_who_saved_nothing_has_none_and_many_are_cut() -> None:
    assert saved_arguments(object(), None) == {}
    assert len(saved_arguments(Kept(**{f"a{place}": place for place in range(99)}), None)) == 60
