"""Times, durations, sizes and marks for templates."""

from django import template

from common.humanize import ago, badge, difference, duration, megabytes, took

register = template.Library()
for each in (ago, badge, difference, duration, megabytes, took):
    register.filter(each.__name__, each)
