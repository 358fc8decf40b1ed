from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distillery.querying.limits import BudgetAccount


class Spending(RuleBasedStateMachine):
    """Any order of reservations and settlements within them never exceeds the limit."""

    def __init__(self):
        super().__init__()
        self.budget = BudgetAccount(limit=1000, spent=100, set_aside=50)
        self.open = []

    @rule(amount=st.integers(0, 400))
    def reserve(self, amount):
        reserved = self.budget.reserve(amount)
        if reserved is None:
            assert self.budget.spent + self.budget.reserved + amount + 50 > 1000
        else:
            self.open.append(reserved)

    @rule(share=st.floats(0, 1), index=st.integers(0, 10))
    def settle(self, share, index):
        if self.open:
            reserved = self.open.pop(index % len(self.open))
            assert not self.budget.settle(reserved, int(reserved * share))

    @invariant()
    def the_limit_holds(self):
        assert self.budget.spent + self.budget.reserved <= 950
        assert self.budget.reserved == sum(self.open)


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=25)


@given(st.integers(0, 10**20))
def test_without_a_limit_everything_fits(amount):
    assert BudgetAccount(limit=None).reserve(amount) == amount


def test_a_bill_above_its_reservation_raises_later_ones():
    budget = BudgetAccount(limit=100)
    reserved = budget.reserve(10)
    assert reserved == 10
    assert budget.settle(reserved, 15)
    assert budget.reserve(10) == 15
    assert (budget.spent, budget.reserved) == (15, 15)
