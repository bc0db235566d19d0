"""Digests by which a journal knows a job again."""

from tfmot_swd.costs.cost import Cost
from tfmot_swd.workflows.digests import cost_digests


class Weighed(Cost):
    def __init__(self, weigh, factor):
        self.weigh, self.factor = weigh, factor

    def terms(self, model):
        return self.factor * model.elements(*model.weights)


def test_a_cost_with_a_function_is_known_again_and_its_numbers_tell_it_from_others():
    # Two functions are at two addresses, as one is in two processes.
    functions = [lambda calls: calls for _ in range(2)]
    one, same = (cost_digests({"weighed": Weighed(each, 2.0)}) for each in functions)
    assert one == same
    assert one != cost_digests({"weighed": Weighed(functions[0], 3.0)})
