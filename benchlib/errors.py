"""The one error that users are meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the field and the remedy, for instance
    ``models: no network is called 'resnet81'; did you mean resnet18?``. The command line prints
    it as it stands and exits with status 2; notebooks let it rise.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
